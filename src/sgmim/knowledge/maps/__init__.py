"""Make maps for a folder of images: it may be stopped or killed at any time, and goes on later.

list of images ──pieces, one process each──► batches of one size ──threads──► images, decoded
    ──the source, in the main thread──► raw maps ──canonical.py──► maps ──threads──► PNG files

The source is shown the same batches whatever is there and however many processes there are, so the
files of a job that was killed any number of times are, to the byte, those of one that was not.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sgmim import distributed
from sgmim.data.images import Images
from sgmim.data.processes import cores
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maker import Maker
from sgmim.knowledge.maps import batching
from sgmim.knowledge.maps.beginning import Precision, begin
from sgmim.knowledge.maps.claiming import BROKEN, CONSTANT, Manner, finish, line, lines_of
from sgmim.knowledge.maps.flow import found
from sgmim.knowledge.maps.job import Found

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
    precision: Precision = "auto",
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
        precision: of the source; "auto" is fp16 for a network on a GPU, else fp32. bf16 has three
            digits, which shows as steps in the maps.
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
    if workers is not None and workers < 1:
        raise ConfigurationError(f"workers are 1 or more, not {workers}")
    device = torch.device(device)
    job = begin(
        maker, images, Path(folder), batch=batch, precision=precision, max_side=max_side,
        confidence=confidence, device=device,
    )  # fmt: skip
    own = batching.chunks(len(images), job.manner.batch)[distributed.rank() :: distributed.world()]
    count, told = sum(map(len, own)), _told(job.manner, batch, device)
    threads = workers or min(THREADS, max(1, cores() // distributed.local_world()))
    broken: set[bytes] = set()
    for number, each in enumerate(found(job, own, threads), start=1):
        name = images.names[each.index]
        broken |= {line(name, each.error)} if each.error else set()
        yield Made(**vars(each), name=name, number=number, count=count, told=told)
        told = None
    _finish(job.folder, broken)


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
