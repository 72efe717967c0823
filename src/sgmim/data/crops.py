"""Where a sample is cut to train on: pieces of an image, drawn from the sample's key alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim import draws
from sgmim.data.geometry import Crop, center_crop
from sgmim.errors import ConfigurationError

STREAM, WINDOWS = 777, 778  # of a sample's random numbers; masks are drawn from other streams
TRIES = 10  # as torchvision's RandomResizedCrop and MMSegmentation's RandomCrop
COUNTED = 128  # pixels a side of a piece in which classes are counted

Size = tuple[int, int]  # pixels, down and across


class Piece(NamedTuple):
    """A rectangle of an image, and how large it is made: less than was asked for where the image
    ends before."""

    crop: Crop
    size: Size


@dataclass(frozen=True)
class Jitter:
    """Large-scale jitter, as MMSegmentation trains on ADE20K.

    The image is fitted into a random multiple of `within`, its shape kept, and a piece is cut out
    of it. A piece in which there is one class only, or one with more than the share `most` of the
    pixels whose class is known, is drawn again, up to ten times.
    """

    within: tuple[int, int] = (2048, 512)  # pixels: the longer side and the shorter
    times: tuple[float, float] = (0.5, 2.0)  # evenly spread
    most: float = 0.75  # 1: whatever the classes are

    def __post_init__(self):
        if min(self.within) < 1 or not 0 < self.times[0] <= self.times[1]:
            raise ConfigurationError(
                f"jitter.within={self.within} are pixels, and jitter.times={self.times} a lower "
                f"and an upper bound above 0"
            )
        if not 0 < self.most <= 1:
            raise ConfigurationError(f"jitter.most is a share above 0, not {self.most}")

    def factor(self, share: float, height: int, width: int) -> float:
        """What an image is enlarged by; `share` is the random number."""
        times = between(*self.times, share)
        longer, shorter = max(self.within), min(self.within)
        return times * min(longer / max(height, width), shorter / min(height, width))


def jittered(
    key: int, height: int, width: int, size: Size, how: Jitter, classes: Tensor | None = None
) -> Piece:
    """A piece by large-scale jitter; `classes` (1, H, W) are counted where there are any."""
    [share] = draws.numbers(key, [0], WINDOWS)
    factor = how.factor(share, height, width)
    for piece in _windows(key, height, width, size, factor):
        if classes is None or how.most == 1 or is_mixed(classes, piece.crop, how.most):
            break
    return piece


def is_mixed(classes: Float[Tensor, "1 H W"], crop: Crop, most: float) -> bool:
    """Whether there are several known classes in a piece, none of which has more than its share;
    counted on a grid of a piece that is large."""
    top, left, height, width, *_ = crop
    down, across = max(1, height // COUNTED), max(1, width // COUNTED)
    piece = classes[0, top : top + height : down, left : left + width : across]
    counts = torch.bincount(piece[piece.isfinite()].long())
    return bool((counts > 0).sum() > 1 and counts.max() < most * counts.sum())


def random_window(key: int, height: int, width: int, size: Size, short_side: int = 0) -> Piece:
    """A piece of an image as it is; or as it would be with that shorter side, if not 0."""
    factor = short_side / min(height, width) if short_side else 1.0
    return next(_windows(key, height, width, size, factor))


def _windows(key: int, height: int, width: int, size: Size, factor: float) -> Iterator[Piece]:
    """Places for a piece of some size on an image that is enlarged by a factor, in pixels of the
    image as it is."""
    drawn = draws.numbers(key, range(1, 2 * TRIES + 3), WINDOWS)
    (h, to_height), (w, to_width) = (
        _side(whole, asked, factor) for whole, asked in zip((height, width), size, strict=True)
    )
    for down, across in zip(drawn, drawn, strict=True):
        top, left = int(down * (height - h + 1)), int(across * (width - w + 1))
        yield Piece(Crop(top, left, h, w), (to_height, to_width))


def _side(whole: int, asked: int, factor: float) -> tuple[int, int]:
    """How much of a side is cut out, and how long it becomes."""
    enlarged = max(1, round(whole * factor))
    if enlarged <= asked:
        return whole, enlarged
    return min(whole, max(1, round(asked / factor))), asked


def random_crop(
    key: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.67, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    vertical_flip: float = 0.0,
) -> Crop:
    """The rule of torchvision's RandomResizedCrop, drawn from the key alone.

    `scale` is the share of the image's area, `ratio` is width / height, evenly spread in its
    logarithm, `flip` the probability of a mirror, `vertical_flip` that of standing on its head.
    Defaults as in SimMIM and SG-MIM (section 4.1).
    """
    drawn = draws.numbers(key, range(4 * TRIES), STREAM)
    for area, shape, down, across in zip(*[drawn] * 4, strict=True):
        pixels = height * width * between(*scale, area)
        aspect = exp(between(log(ratio[0]), log(ratio[1]), shape))
        w, h = round(sqrt(pixels * aspect)), round(sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(down * (height - h + 1)), int(across * (width - w + 1))
            return turned_over(Crop(top, left, h, w), key, flip, vertical_flip)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    return turned_over(center_crop(height, width, aspect), key, flip, vertical_flip)


def turned_over(crop: Crop, key: int, flip: float, vertical_flip: float = 0.0) -> Crop:
    """The same, mirrored with the probability `flip` and upended with another."""
    mirror, headstand = draws.numbers(key, [4 * TRIES, 4 * TRIES + 1], STREAM)
    return crop._replace(flip=mirror < flip, vertical_flip=headstand < vertical_flip)


def between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
