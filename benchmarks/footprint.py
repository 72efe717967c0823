"""How much memory steps take, measured in a process of their own."""

from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import get_context
from resource import RUSAGE_SELF, getpagesize, getrusage
from statistics import linear_regression

import torch

MIB = 2**20

Maker = Callable[[], Iterator[object]]  # whose steps begin from nothing


def peak(maker: Maker, steps: int = 3) -> float:
    """MiB that a process grows to at most: resident on a CPU, allocated on a GPU."""
    return _apart(_peak, maker, steps)


def growth(maker: Maker, steps: int = 200) -> float:
    """MiB that are lost a step: the slope of a line through what is in use after each."""
    return _apart(_growth, maker, steps)


def _peak(maker: Maker, steps: int) -> float:
    before = _resident()
    for _ in islice(maker(), steps):
        pass
    allocated = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return (allocated or 1024 * getrusage(RUSAGE_SELF).ru_maxrss - before) / MIB


def _growth(maker: Maker, steps: int) -> float:
    settling = steps // 4  # until caches and arenas are full
    used = [_used() for _ in islice(maker(), settling + steps)][settling:]
    return linear_regression(range(steps), used).slope / MIB


def _used() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_initialized() else _resident()


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * getpagesize()


def _apart(measure: Callable[[Maker, int], float], maker: Maker, steps: int) -> float:
    """In a new process, forked from one that has imported what is slow and done nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["sgmim.assembly", "transformers", "lightly"])
    with context.Pool(1, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.apply(measure, (maker, steps))
