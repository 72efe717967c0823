"""Score a fine-tuned model, and say how the score was made.

sgmim evaluate depth RUN --test.images FOLDER --test.maps.depth FOLDER ...
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sgmim import contamination
from sgmim.errors import ConfigurationError
from sgmim.evaluation import evaluate
from sgmim.finished import open_run
from sgmim.objective import Task
from sgmim.options import Parser, find
from sgmim.sources import make_source


def main(arguments: Sequence[str]) -> None:
    parser = Parser("evaluate", "Score a fine-tuned model, and say how the score was made.")
    parser.add_argument("task", type=str, help="what it was fine-tuned for: depth")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    parser.add_argument("--json", type=Path | None, default=None, help="also write it there")
    parser.add("test", make_source)
    parser.set_defaults({"test.scenes": 0, "test.scene_seed": 1})
    config = parser.read(arguments)
    find("tasks", config.task)
    run = open_run(config.run, "finetune", device=config.device)
    if run.name != config.task:
        raise ConfigurationError(f"{config.run} was fine-tuned for {run.name}, not {config.task}")
    source = make_source(**config.test.as_dict())
    if source is None:
        raise ConfigurationError("there is no data: give --test.images FOLDER or --test.scenes N")
    task = cast(Task, run.objective)
    task.check(source.has, "test")
    scores, protocol = evaluate(task, source, normalization=run.normalization, batch=config.batch)
    print(told(task, scores, protocol))
    benchmark = contamination.benchmark(source, config.test.benchmark)
    if warning := contamination.warning(contamination.handed_on(config.run), benchmark):
        print(warning, file=sys.stderr)
    if config.json:
        config.json.write_text(json.dumps({"scores": scores, "protocol": protocol}, indent=2))


def told(task: Task, scores: dict[str, float], protocol: dict[str, Any]) -> str:
    """Scores and how they were made, for people."""
    lines = [f"{name:<12} {scores[name]:.4f}" for name in task.metrics if name in scores]
    made = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in protocol.items())
    return "\n".join([*lines, f"made with: {made}"])
