"""How far a long job is: a bar with its pace on a terminal, and else a line now and then."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sgmim import distributed

EVERY = 30.0  # seconds between lines


class Pace(ProgressColumn):
    """Things a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


@contextmanager
def progress(what: str, every: float = EVERY) -> Iterator[Callable[[int, int], None]]:
    """To be told how many are done, of how many. Of several processes the main one speaks."""
    if not distributed.is_main():
        yield lambda done, count: None
        return
    if distributed.world() > 1:
        what += ", the first process's share"
    if not sys.stdout.isatty():
        yield _lines(what, every)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Pace())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


def _lines(what: str, every: float) -> Callable[[int, int], None]:
    last, before = monotonic(), 0

    def tell(done: int, count: int) -> None:
        nonlocal last, before
        now = monotonic()
        if now - last < every:
            return
        pace = max(done - before, 1) / (now - last)
        left = round((count - done) / pace)
        hours = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        print(f"{what}: {done:,} of {count:,}, {pace:.1f}/s, {hours} to go", flush=True)
        last, before = now, done

    return tell
