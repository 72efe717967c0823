"""Make maps for a folder of images: it may be stopped or killed at any time, and goes on later.

list of images ──pieces, one process each──► batches of one size ──threads──► images, decoded
    ──the source, in the main thread──► raw maps ──canonical.py──► maps ──threads──► PNG files

The source is shown the same batches whatever is there and however many processes there are, so the
files of a job that was killed any number of times are, to the byte, those of one that was not.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from sgmim import distributed
from sgmim.data.decoding import image_size
from sgmim.data.images import Images
from sgmim.data.processes import cores
from sgmim.errors import ConfigurationError, DataError
from sgmim.knowledge import agreement, batching
from sgmim.knowledge.canonical import Size, described
from sgmim.knowledge.claiming import (
    BROKEN,
    CONSTANT,
    Manner,
    claim,
    finish,
    line,
    lines_of,
    manner_of,
)
from sgmim.knowledge.flow import found
from sgmim.knowledge.job import Found, Job
from sgmim.knowledge.maker import Function, Maker
from sgmim.precision import faster_in_bf16

THREADS = 16  # more do not help one process


@dataclass(frozen=True)
class Made(Found):
    """What became of one image, and how far the job is."""

    name: str = ""
    number: int = 0  # of images dealt with so far, by this process
    count: int = 0  # of all that are its own
    told: str | None = None  # what there is to say of the whole job; of the first image alone


def make(
    maker: Maker,
    images: Images,
    folder: Path,
    *,
    batch: int = 8,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    max_side: int = 0,
    workers: int | None = None,
    confidence: Path | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Made]:
    """Make the map of every image that has none in `folder` yet, and tell of each image.

    A map is a 16-bit PNG, called as its image but for the suffix. knowledge.json beside the maps
    says what their numbers mean; broken.txt lists images that have no map, and why, constant.txt
    those whose map has only one value. No map is ever there in part. Processes that have joined
    (distributed.py) share the images. Torch's threads are left as they are.

    Args:
        maker: the source; its note says what it gives.
        images: of which the maps are made.
        folder: the folder to make, or to go on with.
        batch: images at once, of one size; halved until it changes no map by more than 1e-3 of its
            range. A folder's maps are all made in the batches that it began with.
        precision: of the source; "auto" is bf16 where the device is faster in it, and fp32 for a
            source that is a plain function.
        max_side: pixels; larger images have maps whose longer side is that. 0 is no limit.
        workers: threads that decode, and as many that write; by default one a core, at most 16.
        confidence: a folder for maps of how well the source agrees with itself on the mirrored
            image, which takes it twice the time.
        device: where the source is.

    Raises:
        ConfigurationError: options that cannot be met, maps in the folder that were not made so,
            or a source that gives no maps.
        FileError: a file that cannot be written.
    """
    if batch < 1 or max_side < 0 or (workers is not None and workers < 1):
        raise ConfigurationError("batch and workers are 1 or more, max_side 0 or more")
    device = torch.device(device)
    if confidence is not None and _overlap(Path(folder), confidence):
        raise ConfigurationError(f"{confidence} and {folder} are in each other; choose another")
    chosen = precision
    if precision == "auto":
        is_network = not isinstance(maker, Function)  # whose few sums bf16 would only coarsen
        chosen = "bf16" if is_network and faster_in_bf16(device) else "fp32"
    manner = Manner(batch, chosen, device.type)
    note = described(maker.note, max_side)
    job = Job(maker, images, Path(folder), note, manner, device, confidence)
    job = _begun(job, precision)
    pieces = batching.chunks(len(images), job.manner.batch)
    own = pieces[distributed.rank() :: distributed.world()]
    count, told = sum(map(len, own)), _told(job.manner, batch, device)
    threads = workers or min(THREADS, max(1, cores() // distributed.local_world()))
    broken: set[bytes] = set()
    for number, each in enumerate(found(job, own, threads), start=1):
        name = images.names[each.index]
        broken |= {line(name, each.error)} if each.error else set()
        yield Made(**vars(each), name=name, number=number, count=count, told=told)
        told = None
    _finish(job.folder, broken)


def _begun(job: Job, asked: str) -> Job:
    """The job as its folders, now claimed, say it is done."""
    sure = None if job.confidence is None else agreement.described(job.note)
    if distributed.is_main():
        claim(job.folder, job.note, job.images.folder, lambda: _measured(job))
        if job.confidence is not None and sure is not None:
            claim(job.confidence, sure, job.images.folder, lambda: job.manner)
    distributed.barrier()
    manner = manner_of(job.folder) or job.manner
    if asked not in ("auto", manner.precision):
        raise ConfigurationError(
            f"the maps in {job.folder} are made in {manner.precision}, not {asked}; leave "
            f"precision out, or choose another folder"
        )
    return replace(job, manner=manner)


def _measured(job: Job) -> Manner:
    """How to make maps, in the largest batch that changes none: tried with the first full one."""
    images, asked = job.images, job.manner.batch
    sizes: dict[int, Size] = {}
    for index in batching.chunks(len(images), asked)[0]:
        with suppress(DataError):  # it is told when its turn comes
            sizes[index] = image_size(images.path(index), images.max_pixels)
    shown = []
    for index in max(batching.batches(sizes, asked), key=len, default=[]):
        with suppress(DataError):
            shown.append(job.read(index))
    shown = [image for image in shown if image.shape == shown[0].shape]
    if asked == 1 or len(shown) < 2:
        return job.manner
    best = batching.faithful(job.raw, job.shown(shown), job.maker.note, asked)
    return replace(job.manner, batch=best)


def _told(manner: Manner, batch: int, device: torch.device) -> str | None:
    """How the maps are made, where that is not as asked."""
    if manner.batch != batch:
        return (
            f"maps are made in batches of {manner.batch}, not {batch}: the folder began so, or "
            f"larger ones change a map by more than {batching.SAME:g} of its range"
        )
    if manner.device != device.type:
        return f"the folder's first maps were made on {manner.device}, these are on {device.type}"
    return None


def _finish(folder: Path, broken: set[bytes]) -> None:
    """Put the lists in order, and all that was made on the disk."""
    os.sync()
    everywhere = set().union(*distributed.gathered(broken))
    if distributed.is_main():
        finish(folder / BROKEN, everywhere)
        finish(folder / CONSTANT, lines_of(folder / CONSTANT))


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
