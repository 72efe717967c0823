"""Work in child processes, so that one that crashes or hangs is counted and the suite goes on."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from typing import Any

PATIENCE = 120  # seconds for one batch of work


def in_children(work: Callable[[Any], list[str]], items: Sequence[Any], batch: int) -> list[str]:
    """What went wrong: what `work` says of every item, and how children ended that did not."""
    context, wrong = get_context("fork"), []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_tell, args=(theirs, work, part))
        child.start()
        theirs.close()
        try:
            told = ours.recv() if ours.poll(PATIENCE) else [f"{part[0]} ...: hangs"] * len(part)
        except EOFError:
            child.join()
            told = [f"{part[0]} ...: ended with {child.exitcode}"] * len(part)
        child.kill()
        child.join()
        wrong += told
    return wrong


def _tell(pipe, work, part):
    pipe.send([fault for item in part for fault in work(item)])
