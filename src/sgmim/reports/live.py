"""A run told of as it goes on: report and trackers. Nothing that fails here stops the run."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch
from torch import Tensor

from sgmim import distributed
from sgmim.data.geometry import unnormalize
from sgmim.data.views import VIEWS
from sgmim.files import write_text, write_whole
from sgmim.log import Row
from sgmim.objective import Batch
from sgmim.reports import report
from sgmim.reports.environment import environment
from sgmim.reports.history import ENVIRONMENT, History
from sgmim.reports.pictures import sheet
from sgmim.trackers import Tracker, open_tracker

EVERY = 20.0  # seconds between two reports, at the least
STAMPS = ("step", "time")  # of a line of the log, which trackers have of their own
SHARE = 0.01  # of the time that reports may take, at the most


class Live:
    """What is told of a run."""

    def __init__(self, folder: Path):
        self.folder, self.history = folder, History(folder)
        self.trackers: dict[str, Tracker] = {}
        self._next, self._failed = 0.0, set[str]()

    def begin(
        self,
        start: int,
        total: int,
        device: torch.device,
        track: Sequence[str],
        config: dict[str, Any],
        known: int = 0,
    ) -> None:
        """Note that a process begins here, and open the trackers.

        Args:
            start: steps done.
            total: steps of the run.
            device: that it trains on.
            track: names of trackers.
            config: its options, for the trackers.
            known: steps that a process before this one has logged; some may come again.
        """
        processes = distributed.world()
        with self._unharmed("the report"):
            self._note([*self.history.starts, {
                "time": round(time(), 1), "step": start, "total": total, "processes": processes,
                "environment": environment(device, processes),
            }])  # fmt: skip
        for name in track:
            with self._unharmed(name):
                self.trackers[name] = open_tracker(name, self.folder, config, start, known)
        self.write()

    def preview(self, batch: Batch, needs: Sequence[str], normalization: str) -> None:
        """Draw what the run is given."""
        with self._unharmed("the preview"):
            path = self.folder / "pictures" / "preview.png"
            write_sheet(path, given(batch, needs), normalization)

    def row(self, done: int, row: Row) -> Row:
        """A line of the log has been written."""
        numbers = {name: value for name, value in row.items() if name not in STAMPS}
        for name, tracker in self.trackers.items():
            with self._unharmed(name):
                tracker.log(done, numbers)
        if perf_counter() >= self._next:
            self.write()
        return row

    def picture(self, done: int, path: Path) -> None:
        """A sheet of pictures has been drawn."""
        for name, tracker in self.trackers.items():
            with self._unharmed(name):
                tracker.picture(done, path)

    def end(self, reason: str) -> None:
        """Note how the process ends, for the last time."""
        starts = self.history.starts
        if starts:
            starts[-1] |= {"ended": round(time(), 1), "reason": reason}
            self._note(starts)
        for name, tracker in self.trackers.items():
            with self._unharmed(name):
                tracker.close(reason)
        self.write()

    def write(self) -> None:
        """Write the report."""
        began = perf_counter()
        with self._unharmed("the report"):
            write_text(self.folder / report.REPORT, report.of_run(self.history.update()))
        now = perf_counter()
        self._next = now + max(EVERY, (now - began) / SHARE)

    def _note(self, starts: list[dict[str, Any]]) -> None:
        with self._unharmed("the report"):
            write_text(self.folder / ENVIRONMENT, json.dumps(starts, indent=1) + "\n")

    @contextmanager
    def _unharmed(self, what: str) -> Iterator[None]:
        """Say once of each that it fails, and go on."""
        try:
            yield
        except Exception as error:
            if what not in self._failed:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{what} failed, and the run goes on without: {reason}", file=sys.stderr)
            self._failed.add(what)


class Silent(Live):
    """Tells nothing."""

    def preview(self, batch: Batch, needs: Sequence[str], normalization: str) -> None:
        pass

    def row(self, done: int, row: Row) -> Row:
        return row

    def picture(self, done: int, path: Path) -> None:
        pass


@contextmanager
def told(folder: Path, start: int, total: int, *beginning: Any) -> Iterator[Live]:
    """What happens in here is told of until it ends, in whichever way.

    By the main process alone, and not of a run that was finished already. The arguments are those
    of `Live.begin`.
    """
    live = Live(folder)
    over = start >= total and live.history.status.word == "finished"
    if over or not distributed.is_main():
        yield Silent(folder)
        return
    live.begin(start, total, *beginning)
    try:
        yield live
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        live.end("interrupted" if interrupted else f"{error}".strip() or type(error).__name__)
        raise
    live.end("")


def given(batch: Batch, needs: Sequence[str]) -> dict[str, Tensor]:
    """What a run is given, as pictures: a camera is none, and of small parts there are two."""
    shown = {name: batch[name] for name in dict.fromkeys(("image", *needs))}
    pictures = {
        name: values[:, : 3 if values.shape[1] == 3 else 1]
        for name, values in shown.items()
        if values.ndim == 4 and name not in VIEWS
    }
    if "view" in shown:
        pictures["image, view"] = shown["view"]
    parts = shown["parts"].unbind(1)[:2] if "parts" in shown else ()
    return pictures | {f"image, part {number}": part for number, part in enumerate(parts, 1)}


def write_sheet(path: Path, pictures: dict[str, Tensor], normalization: str) -> Path:
    """Draw pictures; those whose names begin with "image" are normalized."""
    pictures = {
        name: unnormalize(picture, normalization) if name.startswith("image") else picture
        for name, picture in pictures.items()
    }
    write_whole(path, lambda file: sheet(pictures).save(file, "PNG"))
    return path
