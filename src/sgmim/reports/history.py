"""What a run has told of itself so far, read from its folder: the log, its starts, its pictures."""

import json
from array import array
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from sgmim.plain_values import flat

ENVIRONMENT = "environment.json"
LOG = "log.jsonl"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast
NOTED = {"time", "step", "processes"}  # of every start
SILENT = 300.0  # seconds without a line after which a run counts as stopped, if lines came faster


class History:
    """A run's folder, read as it grows: `update` reads what was added to the log since."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.columns: dict[str, array] = {"step": array("d")}
        self._read = 0  # bytes of the log

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> Float[np.ndarray, " n"]:
        """A column of the log, NaN where a line does not have it."""
        return np.array(self.columns.get(name, [nan] * len(self)))

    def update(self) -> "History":
        """Read the lines that are new and whole."""
        if (path := self.folder / LOG).is_file():
            with open(path, "rb") as file:
                file.seek(self._read)
                lines = file.read()
            lines = lines[: lines.rfind(b"\n") + 1]
            self._read += len(lines)
            for line in lines.splitlines():
                with suppress(ValueError, TypeError):  # a torn line is no line
                    row = json.loads(line)
                    if isinstance(row, dict) and "step" in row:
                        self._append({name: float(value) for name, value in row.items()})
        return self

    def _append(self, row: dict[str, float]) -> None:
        length = len(self)
        for name in row:
            if name not in self.columns:
                self.columns[name] = array("d", [nan]) * length
        for name, column in self.columns.items():
            column.append(row.get(name, nan))

    @property
    def losses(self) -> list[str]:
        """The sum and its parts: what stands from it to the norm of the gradient."""
        names = list(self.columns)
        if "loss" not in names or "grad_norm" not in names:
            return []
        return names[names.index("loss") : names.index("grad_norm")]

    @property
    def quantities(self) -> list[str]:
        """What there is to draw over steps, the losses first; a part that is the sum but once."""
        losses = self.losses[:1] if len(self.losses) == 2 else self.losses
        others = self.columns.keys() - {"step", "time", "memory", *self.losses}
        return losses + [name for name in self.columns if name in others]

    @property
    def memory(self) -> float:
        """GiB that it held at most (log.py); NaN if its log does not know."""
        held = self["memory"]
        return float(np.nanmax(held)) if np.isfinite(held).any() else np.nan

    @property
    def last(self) -> dict[str, float]:
        """The last line of the log."""
        return {name: column[-1] for name, column in self.columns.items()} if len(self) else {}

    @property
    def starts(self) -> list[dict[str, Any]]:
        """Every start of a process: time, step, total steps, processes, environment, end."""
        with suppress(OSError, ValueError, TypeError):
            found = json.loads((self.folder / ENVIRONMENT).read_text(encoding="utf-8"))
            return [start for start in found if _is_start(start)]
        return []

    @property
    def sheets(self) -> list[Path]:
        """The sheets of pictures, the first to the last."""
        return sorted((self.folder / "pictures").glob("step_*.png"))

    @property
    def record(self) -> dict[str, Any]:
        """How it was scored, and what, if it was (scores.py)."""
        with suppress(OSError, ValueError):
            found = json.loads((self.folder / "scores.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def scores(self) -> dict[str, float]:
        """What it was scored, if it was."""
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            return {name: float(score) for name, score in self.record["scores"].items()}
        return {}

    @cached_property
    def written(self) -> str:
        """Its config.yaml, as it is."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.folder / "config.yaml").read_text(encoding="utf-8")
        return ""

    @cached_property
    def config(self) -> dict[str, Any]:
        """Every option, a.b.c -> value."""
        with suppress(yaml.YAMLError, TypeError, ValueError):
            found = json.loads(json.dumps(yaml.load(self.written, LOADER), default=str))
            return flat(found) if isinstance(found, dict) else {}
        return {}

    @property
    def command(self) -> str:
        """What it is a run of: "pretrain" or "finetune"."""
        return "finetune" if "finetune" in self.config else "pretrain"

    @property
    def status(self) -> "Status":
        return Status.of(self)


@dataclass(frozen=True)
class Status:
    """How a run stands."""

    word: str  # running, finished, stopped, or not begun
    reason: str  # why it stopped, if it said so
    step: int  # done
    total: int | None  # None where nobody has written it down
    began: float | None  # seconds since 1970
    heard: float | None  # when it last wrote something
    left: float | None  # seconds, while it runs
    patience: float  # seconds of silence after which it counts as stopped
    resumed: list[int]  # steps from which it went on

    @classmethod
    def of(cls, run: History) -> "Status":
        starts, last = run.starts, run.last
        newest = starts[-1] if starts else {}
        total = newest.get("total") or run.config.get("training.steps")
        step = int(last.get("step", newest.get("step", 0)))
        patience = max(SILENT, 10 * _pace(run, newest))
        heard = max([start["time"] for start in starts] + [last.get("time", 0.0)], default=0.0)
        word, reason = cls._word(run, newest, step, total, heard + patience)
        return cls(
            word=word,
            reason=reason,
            step=step,
            total=total,
            began=starts[0]["time"] if starts else None,
            heard=newest.get("ended") or heard or None,
            patience=patience,
            left=_left(run, total, newest) if word == "running" else None,
            resumed=[start["step"] for start in starts[1:] if start["step"]],
        )

    @staticmethod
    def _word(
        run: History, newest: dict[str, Any], step: int, total: int | None, until: float
    ) -> tuple[str, str]:
        if "ended" in newest:
            return ("stopped" if newest["reason"] else "finished"), newest["reason"]
        if total and step >= total and (run.folder / "objective.safetensors").is_file():
            return "finished", ""
        if not len(run) and not newest:
            return "not begun", ""
        return ("running" if time() < until else "stopped"), ""


def _is_start(start: Any) -> bool:
    """Whether it is what a process writes down as it begins; it may end later, or never."""
    if not (isinstance(start, dict) and start.keys() >= NOTED):
        return False
    numbers = [start[name] for name in NOTED]
    numbers += [start[name] for name in ("total", "ended") if start.get(name) is not None]
    are_numbers = all(isinstance(number, int | float) for number in numbers)
    return are_numbers and isinstance(start.get("environment", {}), dict)


def _pace(run: History, newest: dict[str, Any]) -> float:
    """Seconds between lines of the log, lately; 0 where that is not known."""
    times = run["time"][-20:]
    times = times[times >= newest.get("time", 0.0)]
    return float(np.diff(times).mean()) if len(times) > 1 else 0.0


def _left(run: History, total: int | None, newest: dict[str, Any]) -> float | None:
    """Seconds to the end at the pace of the last lines of this start."""
    recent = run["time"] >= newest.get("time", 0.0)
    steps, times = run["step"][recent][-50:], run["time"][recent][-50:]
    if total is None or len(steps) < 2 or steps[-1] <= steps[0]:
        return None
    return float((total - steps[-1]) * (times[-1] - times[0]) / (steps[-1] - steps[0]))
