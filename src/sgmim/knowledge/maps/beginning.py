"""How the making of maps begins: the request is checked, the folder claimed, the batch tried.

The main process does it, and the others read what it wrote.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from sgmim import distributed
from sgmim.data.decoding import image_size
from sgmim.data.images import Images
from sgmim.errors import ConfigurationError, DataError
from sgmim.knowledge.maker import Function, Maker
from sgmim.knowledge.maps import agreement, batching
from sgmim.knowledge.maps.canonical import Size, described
from sgmim.knowledge.maps.claiming import Manner, claim, manner_of
from sgmim.knowledge.maps.job import Job

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def begin(
    maker: Maker,
    images: Images,
    folder: Path,
    *,
    batch: int,
    precision: Precision,
    max_side: int,
    confidence: Path | None,
    device: torch.device,
) -> Job:
    """The job, as its folder says it is to be done. See maps.make.

    Raises:
        ConfigurationError: what was asked for does not fit the source, or what is in the folder.
    """
    if batch < 1 or max_side < 0:
        raise ConfigurationError(f"batch is 1 or more, max_side 0 or more: {batch}, {max_side}")
    if confidence is not None and _overlap(folder, confidence):
        raise ConfigurationError(f"{confidence} and {folder} are in each other; choose another")
    manner = Manner(batch, _chosen(precision, maker, device), device.type)
    note = described(maker.note, max_side)
    job = Job(maker, images, folder, note, manner, device, confidence)
    sure = None if confidence is None else agreement.described(note)
    if distributed.is_main():
        claim(folder, note, images.folder, lambda: measured(job))
        if confidence is not None and sure is not None:
            claim(confidence, sure, images.folder, lambda: manner_of(folder) or manner)
    distributed.barrier()
    return replace(job, manner=_agreed(manner_of(folder) or manner, precision, folder))


def measured(job: Job) -> Manner:
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


def _chosen(precision: Precision, maker: Maker, device: torch.device) -> str:
    if precision != "auto":
        return precision
    is_network = not isinstance(maker, Function)  # whose few sums fp16 would only coarsen
    return "fp16" if is_network and device.type == "cuda" else "fp32"


def _agreed(manner: Manner, precision: Precision, folder: Path) -> Manner:
    if precision not in ("auto", manner.precision):
        raise ConfigurationError(
            f"the maps in {folder} are made in {manner.precision}, not {precision}; leave "
            f"precision out, or choose another folder"
        )
    return manner


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
