"""Which images a source is shown together: always the same, whoever asks and whatever is there.

A source's answer may depend, in its last bits, on what else is in the batch. So that a job that
was killed ends with the same bytes, batches are a function of the list of images and their sizes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data.stored import Note
from sgmim.knowledge.maps.canonical import Size, ends

CHUNK = 1024  # images of which those of one size are put together
FEW = 64  # chunks, of a short list, so that several processes have some each
TOGETHER = 4  # batches, or more, in a chunk
MOST_PIXELS = 1 << 26  # in a batch: 0.8 GB as floats
SAME = 1e-3  # of its range, by which a batch may change a map

Source = Callable[[Tensor], Tensor]  # colors in [0, 1] (b, 3, H, W) to checked raw maps


def chunks(count: int, batch: int) -> list[range]:
    """The whole list in pieces, by the numbers of the images."""
    size = max(TOGETHER * batch, min(CHUNK, count // FEW))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def batches(sizes: dict[int, Size], most: int) -> list[list[int]]:
    """Images of one size in batches of at most `most`, in the order of their first ones."""
    groups: dict[Size, list[int]] = {}
    for index, size in sizes.items():
        groups.setdefault(size, []).append(index)
    return [
        group[start : start + fitting]
        for (height, width), group in groups.items()
        for fitting in [max(1, min(most, MOST_PIXELS // (height * width)))]
        for start in range(0, len(group), fitting)
    ]


def faithful(source: Source, images: Float[Tensor, "b _ H W"], note: Note, batch: int) -> int:
    """The largest batch, of `batch` halved as often as it takes, in which maps are what they are
    one by one, within SAME; a batch that does not fit into the device's memory is too large."""
    if len(images) < 2 or batch < 2:
        return batch
    alone = together(source, images, 1)
    while batch > 1:
        try:
            if deviation(together(source, images, batch), alone, note) <= SAME:
                break
        except torch.OutOfMemoryError:
            pass
        batch //= 2
    return batch


def together(source: Source, images: Float[Tensor, "b _ H W"], batch: int) -> Tensor:
    return torch.cat([source(part) for part in images.split(batch)])


def deviation(one: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"], note: Note) -> float:
    """How far maps are from others: the largest difference over the range of that map's channel;
    of classes, the share of pixels that differ."""
    apart = (one - other).abs().nan_to_num(0)
    if note.kind == "class":
        return (apart > 0).float().mean(dim=(1, 2, 3)).max().item()
    low, high = ends(other)
    span = (high - low).where(high > low, high.abs()).clamp(min=torch.finfo().tiny)
    return (apart / span).max().item()
