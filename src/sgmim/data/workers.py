"""The processes that load samples: what they do when one of them dies or hangs.

Each leaves a note of the sample that it is at, in memory that it shares with the run. So the run
can say which file has killed or stopped a process, and tell a slow batch from one that never comes.
A process that dies is replaced, once for each file: what it had begun is a function of its number,
so nothing is lost and nothing changes. A file that kills a second process ends the run.
"""

import atexit
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sgmim.errors import DataError
from sgmim.signals import deaf

LOOK = 1.0  # seconds between looks at the processes while the run waits for them
HUNG = 45.0  # seconds for one sample, after which its file is given up, and the run
DEATHS = 10  # of processes, whatever they were at: then the machine is at fault

_abandoned: list[Any] = []  # loaders whose processes were killed: to shut them down could hang


def load(
    dataset: Any,
    places: Iterable[Any],
    workers: int,
    *,
    name: Callable[[int], str] = str,
    in_batches: bool = True,
    **options: Any,
) -> Iterator[Any]:
    """What a dataset has at some places, in their order, loaded by other processes.

    Args:
        dataset: with places of any kind, the last number of which is the sample's.
        places: a list of them for every batch; or one after another, if not `in_batches`.
        workers: processes; 0 loads in this one.
        name: of a sample's file, by its number.
        in_batches: whether what is loaded is joined, by `collate_fn`.
        options: of torch's DataLoader.

    Raises:
        DataError: a file kills or stops the processes that load it, or they die of something else.
    """
    rest, waiting, deaths = iter(places), deque[Any](), Counter[str]()
    while True:
        team = _Team(dataset, chain(tuple(waiting), rest), workers, in_batches, options)
        waiting = team.waiting
        try:
            yield from team.loaded()
            return
        except _Lost as lost:
            _weigh(lost, deaths, name, workers)
        finally:
            team.end()


class _Lost(Exception):
    """A process that is dead or hangs: how it ended, and the samples that may be why."""

    def __init__(self, ended: str, samples: list[int], hangs: bool = False):
        super().__init__(ended)
        self.ended, self.samples, self.hangs = ended, samples, hangs


class _Noting(Dataset[Any]):
    """A dataset that leaves a note, by process, of the sample it is at and since when."""

    def __init__(self, dataset: Any, workers: int):
        self.dataset, count = dataset, max(workers, 1)
        self.process = multiprocessing.RawArray("q", count)
        self.sample = multiprocessing.RawArray("q", count)
        self.since = multiprocessing.RawArray("d", count)  # 0: at none

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Any) -> Any:
        worker = get_worker_info()
        number = worker.id if worker else 0
        self.process[number] = os.getpid()
        self.sample[number] = place[-1] if isinstance(place, Sequence) else place
        self.since[number] = monotonic()
        try:
            return self.dataset[place]
        finally:
            self.since[number] = 0.0

    def at(self, processes: Iterable[int | None]) -> list[int]:
        """The samples that some processes are at, or were when they died."""
        busy = dict(zip(self.process, zip(self.sample, self.since, strict=True), strict=True))
        return [busy[p][0] for p in processes if p in busy and busy[p][1]]

    def slow(self, seconds: float) -> list[int]:
        """The processes that have been at one sample for longer than that."""
        now = monotonic()
        return [
            p
            for p, since in zip(self.process, self.since, strict=True)
            if since and now - since > seconds
        ]


class _Team:
    """A DataLoader and its processes."""

    def __init__(
        self,
        dataset: Any,
        places: Iterable[Any],
        workers: int,
        in_batches: bool,
        options: dict[str, Any],
    ):
        self.notes, self.waiting = _Noting(dataset, workers), deque[Any]()
        order: dict[str, Any] = {"batch_sampler" if in_batches else "sampler": self._noted(places)}
        if not in_batches:
            order["batch_size"] = None
        loader = DataLoader[Any](
            self.notes,
            num_workers=workers,
            generator=torch.Generator(),  # so that it leaves torch's own alone
            timeout=LOOK if workers else 0,
            **order,
            **options,
        )
        handler, others = signal.getsignal(signal.SIGCHLD), set(multiprocessing.active_children())
        with deaf():
            self.iterator: Any = iter(loader)
        self.processes = [p for p in multiprocessing.active_children() if p not in others]
        if self.processes:
            _undo(handler)
        atexit.register(self.end)

    def loaded(self) -> Iterator[Any]:
        """What comes, in order; raises _Lost where nothing will."""
        while True:
            try:
                yield self._next()
            except StopIteration:
                return

    def end(self) -> None:
        """End the processes, whatever they are at."""
        atexit.unregister(self.end)
        self.iterator = None  # torch's own way, for those that are well
        for process in self.processes:
            process.kill()
            process.join(LOOK)

    def _noted(self, places: Iterable[Any]) -> Iterator[Any]:
        for place in places:
            self.waiting.append(place)
            yield place

    def _next(self) -> Any:
        while True:
            try:
                loaded = next(self.iterator)
                self.waiting.popleft()
                return loaded
            except (RuntimeError, OSError, EOFError) as error:  # all that a torn pipe can raise
                self._look()
                if str(error).startswith("DataLoader worker (pid"):  # it died at birth
                    self._give_up()
                    raise _Lost("died", []) from error
                if not str(error).startswith("DataLoader timed out"):
                    raise

    def _look(self) -> None:
        """Raise _Lost if a process is dead or hangs; then the others are ended, too."""
        dead = [process for process in self.processes if process.exitcode is not None]
        hung = self.notes.slow(HUNG)
        if not dead and not hung:
            return
        self._give_up()
        if dead:
            raise _Lost(_how(dead[0]), self.notes.at(process.pid for process in dead))
        raise _Lost(f"hangs for more than {HUNG:.0f} seconds", self.notes.at(hung), hangs=True)

    def _give_up(self) -> None:
        _abandoned.append(self.iterator)
        for process in self.processes:
            process.kill()


def _weigh(lost: _Lost, deaths: Counter, name: Callable[[int], str], workers: int) -> None:
    """Go on with new processes, and say so; or raise DataError with what is at fault."""
    files = [name(sample) for sample in lost.samples]
    deaths.update(files or ["no file"])
    at = f"while it read {' or '.join(files)}" if files else "while it read nothing"
    if lost.hangs:
        raise DataError(f"a process that loads data {lost} {at}: is the disk still there?")
    if any(deaths[file] > 1 for file in files):
        raise DataError(
            f"a process that loads data {lost} {at}, and so did the one before it: "
            "repair or remove the file, or is there too little memory?"
        )
    if deaths.total() >= DEATHS:
        raise DataError(
            f"{DEATHS} processes that load data died, the last of them {at}: for want of memory "
            f"perhaps, or of shared memory; take fewer than {workers} workers or a smaller batch"
        )
    print(f"sgmim: a process that loads data {lost} {at}; going on with another", file=sys.stderr)


def _how(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _undo(handler: Any) -> None:
    """Take back torch's handler, which would raise wherever the run is just then."""
    try:
        signal.signal(signal.SIGCHLD, handler)
    except ValueError:  # not in the main thread, where torch sets none either
        return
