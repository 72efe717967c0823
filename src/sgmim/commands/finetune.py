"""Fine-tune an encoder for a task, and score it.

sgmim finetune depth --init RUN --data.images FOLDER --data.maps.depth FOLDER ...
                     [--test.images FOLDER --test.maps.depth FOLDER ...]
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from sgmim import contamination, distributed, protocols, scores
from sgmim.assembly import Run, prepare
from sgmim.data.images import Source
from sgmim.evaluation import checked, evaluate
from sgmim.inference import Inference
from sgmim.objective import Objective, Task
from sgmim.reports.live import Live
from sgmim.sources import make_source

DEFAULTS = {"test.scenes": 0, "test.scene_seed": 1, "test.split": "test"}
Score = Callable[..., tuple[dict[str, float], dict[str, Any]]]


def main(arguments: Sequence[str]) -> None:
    with distributed.together():
        run = prepare("finetune", "tasks", "task", arguments, **DEFAULTS)
        test = make_source(**run.config.test.as_dict())
        if test is not None:  # what cannot be scored is told before any training
            checked(cast(Task, run.objective), test, partial=run.config.partial)
        if distributed.is_main():
            print(run.told())
        if run.config.dry_run:
            return
        if test is None:
            run.train()
            return
        score = partial(_score, run, test)
        trained = cast(Task, run.train(partial(_look, run, score), run.config.test_every))
        _tell(run, test, trained, score, arguments)


def _score(
    run: Run, test: Source, task: Task, told: bool = True
) -> tuple[dict[str, float], dict[str, Any]]:
    return evaluate(
        task,
        test,
        normalization=run.batches.normalization,
        inference=Inference(**run.config.inference.as_dict()),
        partial=run.config.partial,
        told=told,
    )


def _look(run: Run, score: Score, step: int, objective: Objective) -> None:
    """Score a run as it trains."""
    found, _ = score(cast(Task, objective), told=False)
    if distributed.is_main():
        scores.note(run.folder, step, found)


def _tell(run: Run, test: Source, trained: Task, score: Score, arguments: Sequence[str]) -> None:
    """Score what a run hands over: the headline, whatever was scored on the way."""
    found, protocol = score(trained)
    if not distributed.is_main():
        return
    record = scores.record(
        found,
        protocol,
        name=protocols.named(protocols.settings(run.config.test.as_dict(), protocol)),
        run=run.folder,
        command=["finetune", *arguments],
        best=scores.best(run.folder, trained.meter().rising),
    )
    scores.write(run.folder / "scores.json", record)
    Live(run.folder).write()
    scores.tell(trained, record, contamination.benchmark(test, run.config.test.benchmark))
