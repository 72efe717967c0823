"""Work shared by processes, as a stream of results."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from sgmim.errors import DataError

T, R = TypeVar("T"), TypeVar("R")
_work: Callable = lambda item: item  # noqa: E731  (of this process, if it is one of those below)


def cores() -> int:
    """CPU cores that this process may use."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        allowed = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # a container's share, "max 100000" where it has no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed


def shared(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """What `work` makes of every item, in their order, in so many processes; 0 is in this one.

    `work` is sent to a process once, however large. Processes end with the one that started them.
    DataError where one was killed.
    """
    if not workers:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(work, os.getpid()))
    try:
        yield from pool.map(_call, items)
    except BrokenProcessPool as error:
        raise DataError(
            f"a process died, for want of memory perhaps: take fewer than {workers} workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(work: Callable, parent: int) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _call(item):
    return _work(item)
