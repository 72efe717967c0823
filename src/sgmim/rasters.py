"""Points drawn as pictures: from 1 at the pixel of a point and 0 elsewhere to its surroundings.

All are drawn within the picture, on its device, and where drawings overlap the larger value holds.
So neither the order of the points nor their number at one place plays a part.
"""

from collections.abc import Iterable
from math import ceil, exp

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# What OpenCV's drawKeypoints paints around a keypoint in the middle of a pixel: a circle of radius
# 3, smoothed at its edges, of which every pixel that is not black counts. 48 pixels.
RING = (
    "...###...",
    "..#####..",
    ".#######.",
    "###...###",
    "###...###",
    "###...###",
    ".#######.",
    "..#####..",
    "...###...",
)


def point(points: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 H W"]:
    """The pixels of the points: what KAMIM's paper says."""
    return (points > 0.5).float()


def ring(points: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 H W"]:
    """A ring around each point: what KAMIM's code has OpenCV draw."""
    middle = len(RING) // 2
    marks = ((y, x) for y, row in enumerate(RING) for x, mark in enumerate(row) if mark == "#")
    return _stamped(points, [(y - middle, x - middle) for y, x in marks])


def disk(points: Float[Tensor, "b 1 H W"], radius: float) -> Float[Tensor, "b 1 H W"]:
    """The pixels within `radius` pixels of a point."""
    near = range(-int(radius), int(radius) + 1)
    return _stamped(points, [(y, x) for y in near for x in near if y * y + x * x <= radius**2])


def gaussian(points: Float[Tensor, "b 1 H W"], sigma: float) -> Float[Tensor, "b 1 H W"]:
    """exp(-d^2 / 2 sigma^2) of the distance d to the nearest point, up to 3 sigma across and down.

    The exponential of a sum of squares is a product: first along the rows, then along the columns.
    """
    near = range(-ceil(3 * sigma), ceil(3 * sigma) + 1)
    heights = {place: exp(-(place**2) / (2 * sigma**2)) for place in near}
    return _swollen(_swollen(point(points), heights).mT, heights).mT.contiguous()


def _stamped(
    points: Float[Tensor, "b 1 H W"], places: Iterable[tuple[int, int]]
) -> Float[Tensor, "b 1 H W"]:
    """1 wherever the stamp that these places make up, laid on a point, comes to lie.

    Shifts of booleans: on a CPU a thirtieth of the time of a convolution with the stamp.
    """
    height, width = points.shape[2:]
    places = list(places)
    edge = max(max(abs(y), abs(x)) for y, x in places)
    wide = F.pad(points > 0.5, (edge,) * 4)
    drawn = torch.zeros_like(points, dtype=torch.bool)
    for y, x in places:
        drawn |= wide[..., edge - y : edge - y + height, edge - x : edge - x + width]
    return drawn.float()


def _swollen(
    values: Float[Tensor, "b 1 H W"], heights: dict[int, float]
) -> Float[Tensor, "b 1 H W"]:
    """The largest, over shifts along the rows, of the shifted values times the shift's height."""
    edge, width = max(heights), values.shape[-1]
    wide, found = F.pad(values, (edge, edge)), torch.zeros_like(values)
    for shift, height in heights.items():
        found = torch.maximum(found, height * wide[..., edge - shift : edge - shift + width])
    return found
