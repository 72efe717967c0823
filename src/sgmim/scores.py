"""A score to be trusted: what it is, how it was made, of which weights, by which command."""

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import join
from typing import Any

import torch

from sgmim import __version__, contamination
from sgmim.encoders.files import read_header
from sgmim.errors import FileError
from sgmim.files import write_text
from sgmim.objective import Task
from sgmim.protocols import by
from sgmim.runs import OBJECTIVE

SCHEMA = 1  # of the record
TESTS = "tests.jsonl"  # scores made while a run trained
SHOWN = 40  # classes whose scores are printed

Record = dict[str, Any]


def record(
    scores: dict[str, float],
    protocol: dict[str, Any],
    *,
    name: str,
    run: Path,
    command: Sequence[str],
    best: dict[str, Any] | None = None,
    checkpoint: dict[str, Any] | None = None,
) -> Record:
    """What is kept of a score.

    Args:
        scores: as `evaluate` says.
        protocol: how they were made, as it says.
        name: what that way is called (protocols.py).
        run: the folder of the run that was scored.
        command: the words after "sgmim".
        best: the best scores seen while it trained.
        checkpoint: "file" and "sha256" of the weights, if not those of the whole run.
    """
    whole = run / OBJECTIVE
    made = {
        "schema": SCHEMA,
        "scores": scores,
        "protocol": {"name": name, **protocol},
        "checkpoint": checkpoint or {"file": str(whole), "sha256": sha256(whole)},
        "run": str(run),
        "step": _step(run),
        "command": f"sgmim {join(command)}",
        "sgmim": __version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return made | ({"best, selected on the test data": best} if best else {})


def write(path: Path, made: Record) -> None:
    write_text(path, json.dumps(made, indent=2) + "\n")


def told(task: Task, made: Record) -> str:
    """A record for people."""
    scores, protocol = made["scores"], dict(made["protocol"])
    found, expected = protocol.pop("images_found"), protocol.pop("images_expected")
    without, name = protocol.pop("images_without_truth"), protocol.pop("name")
    classes = {**protocol.pop("iou", {}), **protocol.pop("recall", {})}  # by name
    inference = dict(protocol.pop("inference"))
    scored, size = protocol.pop("images"), by(inference.pop("size"))
    lines = [f"{score:<12} {scores[score]:.4f}" for score in task.metrics if score in scores]
    if len(classes) <= SHOWN:
        lines += [f"  {kind:<22} {_share(iou)}" for kind, iou in classes.items()]
    of = f" of {expected}" if expected is not None else ""
    said = [*protocol.items(), *inference.items(), ("size", size)]
    return "\n".join(
        [
            *lines,
            f"protocol     {name}",
            f"images       images found {found}{of}, scored {scored}, without truth {without}",
            f"made with    {', '.join(f'{key} {value}'.replace('_', ' ') for key, value in said)}",
            f"weights      step {made['step']}, sha256 {made['checkpoint']['sha256'][:16]}...",
        ]
    )


def tell(task: Task, made: Record, benchmark: str | None) -> None:
    """Print a record, with a warning where the model knows the benchmark."""
    print(told(task, made))
    if warning := contamination.warning(contamination.handed_on(made["run"]), benchmark):
        print(warning, file=sys.stderr)


def sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def note(folder: Path, step: int, scores: dict[str, float]) -> None:
    """Add scores made while a run trains; those of later steps, which come again, are dropped."""
    rows = [row for row in tests(folder) if row["step"] < step]
    lines = [json.dumps(row) for row in [*rows, {"step": step, "scores": scores}]]
    write_text(folder / TESTS, "\n".join(lines) + "\n")


def tests(folder: Path) -> list[dict[str, Any]]:
    """The scores made while a run trained, with their steps."""
    if not (folder / TESTS).is_file():
        return []
    return [json.loads(line) for line in (folder / TESTS).read_text().splitlines()]


def best(folder: Path, rising: Sequence[str]) -> dict[str, Any]:
    """The best of each score while a run trained, and at which step.

    Who chooses a step by the test data has no test data left: a best score is told, beside that of
    the last step, and labelled as what it is.
    """
    rows = tests(folder)
    found: dict[str, Any] = {}
    for name in rows[0]["scores"] if rows else ():
        choose = max if name in rising else min
        score, step = choose((row["scores"][name], row["step"]) for row in rows)
        found[name] = {"score": score, "step": step}
    return found


def _step(run: Path) -> int | None:
    with suppress(FileError, ValueError, KeyError):
        return int(read_header(run)["step"])
    return None  # of a run whose encoder was taken away


def _share(iou: float | None) -> str:
    return "-" if iou is None else f"{iou:.4f}"
