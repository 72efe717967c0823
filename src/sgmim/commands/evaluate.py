"""Score a fine-tuned model, and say how the score was made.

sgmim evaluate depth RUN --test.images FOLDER --test.maps.depth FOLDER ...
sgmim evaluate depth RUN --protocol kitti_mimd --test.root FOLDER        (sgmim list protocols)
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_type_hints

from jsonargparse import Namespace

from sgmim import contamination, distributed, protocols, scores
from sgmim.data.derived import Drawn
from sgmim.data.images import Source
from sgmim.errors import ConfigurationError
from sgmim.evaluation import evaluate
from sgmim.finished import Finished, open_run
from sgmim.inference import Inference
from sgmim.objective import Task
from sgmim.options import Parser, find
from sgmim.sources import make_source


def main(arguments: Sequence[str]) -> None:
    with distributed.together():
        task = next((word for word in arguments if not word.startswith("-")), "depth")
        parser = _parser(find("tasks", task))
        asked = parser.read(arguments)
        protocol = protocols.protocol(asked.protocol, task) if asked.protocol else None
        run = open_run(asked.run, "finetune", device=asked.device)
        if run.name != task:
            raise ConfigurationError(f"{asked.run} was fine-tuned for {run.name}, not {task}")
        parser.set_defaults(_as_it_was_trained(run))
        parser.set_defaults(protocol.defaults() if protocol else {})
        config = parser.read(arguments)
        given = parser.read(arguments, defaults=False).get("score", Namespace()).as_dict()
        scoring, source = (protocol.score if protocol else {}) | given, _source(config)
        record = scored(run, source, config, scoring, arguments)
        if distributed.is_main():
            benchmark = contamination.benchmark(source, config.test.benchmark)
            scores.tell(cast(Task, run.objective), record, benchmark)
            if config.json:
                scores.write(config.json, record)


def scored(
    run: Finished,
    source: Source,
    config: Namespace,
    scoring: dict[str, Any],
    arguments: Sequence[str],
) -> scores.Record:
    """The record of a run's score."""
    made, protocol = evaluate(
        cast(Task, run.objective),
        source,
        normalization=run.normalization,
        inference=Inference(**config.inference.as_dict()),
        scoring=scoring,
        batch=config.batch,
        workers=config.workers,
        partial=config.partial,
    )
    done = protocols.settings(config.test.as_dict(), protocol, drawn=config.drawn)
    name = protocols.named(done, config.protocol)
    return scores.record(
        made, protocol, name=name, run=config.run, command=["evaluate", *arguments]
    )


def _parser(task: type[Task]) -> Parser:
    parser = Parser("evaluate", "Score a fine-tuned model, and say how the score was made.")
    parser.add_argument("task", type=str, help="what it was fine-tuned for: depth, segmentation")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument(
        "--protocol", type=str | None, default=None,
        help="score as published: sgmim list protocols; options beside it take precedence",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--partial", action="store_true", help="score what there is of a split")
    parser.add_argument(
        "--drawn", type=tuple[int, int] | None, default=None,
        help="so many images at random, and numpy's seed of that: MultiMAE's code has [100, 0]",
    )  # fmt: skip
    parser.add_argument("--json", type=Path | None, default=None, help="also write it there")
    parser.add("test", make_source)
    parser.add("inference", Inference)
    # the options of a score are those of what makes it: of whatever the task returns as its meter
    parser.add("score", get_type_hints(task.meter)["return"], skip={"classes", "names"})
    parser.set_defaults({"test.scenes": 0, "test.scene_seed": 1, "test.split": "test"})
    return parser


def _as_it_was_trained(run: Finished) -> dict[str, Any]:
    """The options that a run has been shown its test images with."""
    return {f"inference.{name}": value for name, value in asdict(run.inference).items()}


def _source(config: Namespace) -> Source:
    source = make_source(**config.test.as_dict())
    if source is None:
        raise ConfigurationError(
            "there is no data: give --test.images FOLDER or --test.scenes N, or --test.dataset "
            "NAME --test.root FOLDER"
        )
    return Drawn(source, *config.drawn) if config.drawn else source
