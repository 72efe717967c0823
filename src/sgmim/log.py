"""What a run tells of itself while it trains: lines in a file, and a bar or lines to look at."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter, time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sgmim import distributed, memory, training
from sgmim.data.batches import Batches
from sgmim.errors import FileError
from sgmim.files import write_bytes
from sgmim.plan import Plan

Row = dict[str, float | int]  # a line of the log
# what of it is said in words of its own, or not at all, where lines are shown as they come
ASIDE = (
    "step", "time", "loss", "lr", "grad_norm", "images_per_second", "waiting", "replaced", "memory",
)  # fmt: skip


class Log:
    """Lines of log.jsonl: losses, rate, images a second, share of the time spent waiting, and the
    memory (GiB) that the main process has held at most since it began."""

    def __init__(self, folder: Path, plan: Plan, batches: Batches, start: int = 0):
        self.path, self.plan, self.batches = folder / "log.jsonl", plan, batches
        self.last, self.waited, self.done = perf_counter(), batches.waited, start
        self.known = self._forget(start) if distributed.is_main() else 0  # steps, from before

    def write(self, step: training.Step) -> Row:
        now, waited = perf_counter(), self.batches.waited
        numbers = distributed.mean(training.read(step))
        done = step.number + 1
        row = {
            "step": done,
            "time": round(time(), 1),  # seconds since 1970
            **numbers,
            "images_per_second": (done - self.done) * self.plan.batch / (now - self.last),
            "waiting": (waited - self.waited) / (now - self.last),
            "replaced": len(self.batches.replaced),
            "memory": round(memory.peak(self.batches.device), 3),
        }
        self.last, self.waited, self.done = now, waited, done
        if distributed.is_main():
            with _writable(self.path), open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return row

    def _forget(self, start: int) -> int:
        """Drop the lines of steps that were not saved, which come again, and a torn last line.

        Returns the step of the last that there was.
        """
        kept, step = [], 0
        if self.path.is_file():
            for line in self.path.read_bytes().splitlines(keepends=True):
                with suppress(ValueError):
                    step = json.loads(line)["step"]
                    kept += [line] * (step <= start)
            write_bytes(self.path, b"".join(kept))
        return step


@contextmanager
def progress(total: int, start: int) -> Iterator[Callable[[int, Row], None]]:
    """A bar with what the log says last; lines where nobody sees a bar; nothing in other ranks."""
    if not distributed.is_main():
        yield lambda done, row: None
    elif not sys.stdout.isatty():
        yield lambda done, row: print(f"step {done} of {total}: {_told(row)}", flush=True)
    else:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        with Progress(*columns) as bar:
            task = bar.add_task("", total=total, completed=start, told="")
            yield lambda done, row: bar.update(task, completed=done, told=_told(row))


def _told(row: Row) -> str:
    parts = [f"{name} {value:.4f}" for name, value in row.items() if name not in ASIDE]
    broken = f", {row['replaced']:.0f} broken" if row["replaced"] else ""
    return (
        f"{', '.join(parts)}, rate {row['lr']:.2e}, {row['images_per_second']:.0f} images/s, "
        f"waiting {row['waiting']:.0%}{broken}"
    )


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot write {path}: {error}") from error
