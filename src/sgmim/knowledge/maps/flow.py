"""Images through a source without waiting: threads decode ahead of it, others write behind it."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

from sgmim.errors import DataError
from sgmim.knowledge.maps import batching
from sgmim.knowledge.maps.job import Found, Job, Map, Plan

T = TypeVar("T")
Reads = dict[int, Future[Tensor]]  # the images of a batch, some of them on their way

AHEAD = 2  # batches that are read before the source asks for them, or still to be written


def found(job: Job, chunks: list[range], threads: int) -> Iterator[Found]:
    """What becomes of the images in these pieces of the list, as soon as it is known."""
    written: deque[Future[Found]] = deque()
    with _pool(threads) as readers, _pool(threads) as writers:
        for plan, reads in early(_reads(job, chunks, readers), AHEAD):
            if not reads:
                yield from plan.found
            for outcome in _computed(job, plan, reads):
                if isinstance(outcome, Found):
                    yield outcome
                else:
                    written.append(writers.submit(job.write, *outcome))
            while len(written) > max(threads, AHEAD * len(reads)):
                yield written.popleft().result()
        while written:
            yield written.popleft().result()


def early(items: Iterable[T], most: int) -> Iterator[T]:
    """Items, of which up to `most` are drawn before they are asked for."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > most:
            yield waiting.popleft()
    yield from waiting


def _reads(job: Job, chunks: list[range], pool: ThreadPoolExecutor) -> Iterator[tuple[Plan, Reads]]:
    """Every plan alone, and then with each of its batches."""
    for planned in early((pool.submit(job.plan, chunk) for chunk in chunks), 1):
        plan = planned.result()
        yield plan, {}
        for batch in plan.batches:
            yield plan, {index: pool.submit(job.read, index) for index in batch}


def _computed(job: Job, plan: Plan, reads: Reads) -> Iterator[Found | tuple[int, Map]]:
    """The maps that are missing of a batch, and what of it is broken."""
    images: dict[int, Tensor] = {}
    for index, read in reads.items():
        try:
            images[index] = read.result()
        except DataError as error:
            if index in plan.missing:
                yield job.broken(index, error)
    sizes = {index: (image.shape[-2], image.shape[-1]) for index, image in images.items()}
    for group in batching.batches(sizes, job.manner.batch):  # one, unless a header was wrong
        wanted = [index for index in group if index in plan.missing]
        if not wanted:
            continue
        try:
            made = dict(zip(group, job.compute([images[index] for index in group]), strict=True))
        except DataError as error:
            yield from (job.broken(index, error) for index in wanted)
        else:
            yield from ((index, made[index]) for index in wanted)


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
