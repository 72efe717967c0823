"""One crop and one flip for an image and all maps that lie on it, and how colors are normalized.

Every map has a rule: how it is interpolated, and what a mirror does to its values.
"""

from dataclasses import dataclass
from functools import cache
from math import exp, log, sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn import functional as F

from sgmim import draws
from sgmim.errors import unknown

STREAM = 777  # of a sample's random numbers; methods draw their masks from other streams
TRIES = 10  # as torchvision's RandomResizedCrop


@dataclass(frozen=True)
class Rule:
    """How one kind of map moves. What is not named in RULES is dense and only moves."""

    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    negated: tuple[int, ...] = ()  # channels that change sign in a mirror


RULES = {
    "normals": Rule(negated=(0,)),  # x points to the right
    "classes": Rule(interpolation="nearest"),
    "segments": Rule(interpolation="nearest"),
    "sparse": Rule(interpolation="nearest"),  # depth from a laser: mostly NaN, which would spread
}


def rule(name: str) -> Rule:
    return RULES.get(name, Rule())


class Crop(NamedTuple):
    """A rectangle in pixels, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def random_crop(
    key: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.67, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Crop:
    """The rule of torchvision's RandomResizedCrop, drawn from the key alone.

    `scale` is the share of the image's area, `ratio` is width / height, evenly spread in its
    logarithm, `flip` the probability of a mirror. Defaults as in SimMIM and SG-MIM (section 4.1).
    """
    (mirror,) = draws.numbers(key, [4 * TRIES], STREAM)
    drawn = draws.numbers(key, range(4 * TRIES), STREAM)
    for area, shape, down, across in zip(*[drawn] * 4, strict=True):
        pixels = height * width * _between(*scale, area)
        aspect = exp(_between(log(ratio[0]), log(ratio[1]), shape))
        w, h = round(sqrt(pixels * aspect)), round(sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(down * (height - h + 1)), int(across * (width - w + 1))
            return Crop(top, left, h, w, mirror < flip)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    return center_crop(height, width, aspect)._replace(flip=mirror < flip)


def center_crop(height: int, width: int, aspect: float, share: float = 1.0) -> Crop:
    """The largest centered rectangle of that width / height, its sides times `share`."""
    h = max(1, round(share * min(height, width / aspect)))
    w = max(1, round(share * min(width, height * aspect)))
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def cut(sample: dict[str, Tensor], crop: Crop, size: tuple[int, int]) -> dict[str, Tensor]:
    """Crop, resize to `size` (height, width) and mirror the image and every map (c, H, W).

    Bilinear is antialiased, and what rests on an unknown pixel (NaN) becomes unknown. Whatever
    does not lie on the image, such as a label, is left as it is.
    """
    return {
        name: _cut(value, rule(name), crop, size) if value.ndim == 3 else value
        for name, value in sample.items()
    }


def fit(
    sample: dict[str, Tensor], size: tuple[int, int], *, share: float | None = None
) -> dict[str, Tensor]:
    """For evaluation: the whole image in `size`, its shape not kept; or, where a `share` is given,
    the center crop that keeps it: 0.875 is the usual resize to 256 and center crop of 224."""
    height, width = sample["image"].shape[-2:]
    if share is None:
        return cut(sample, Crop(0, 0, height, width), size)
    return cut(sample, center_crop(height, width, size[1] / size[0], share), size)


def _cut(value: Tensor, rule: Rule, crop: Crop, size: tuple[int, int]) -> Tensor:
    top, left, height, width, flip = crop
    value = value[:, top : top + height, left : left + width]
    if (height, width) != size:
        value = _resized(value, size, nearest=rule.interpolation == "nearest")
    if not flip:
        return value
    value = value.flip(-1)
    for channel in rule.negated:
        value[channel].neg_()
    return value


def _resized(value: Tensor, size: tuple[int, int], *, nearest: bool) -> Tensor:
    """As torchvision's `resize`, whose way to this takes a fifth of a small image's time."""
    if nearest:
        return F.interpolate(value[None], size, mode="nearest-exact")[0]
    return F.interpolate(value[None], size, mode="bilinear", antialias=True)[0]


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


NORMALIZATIONS = {  # mean and standard deviation of red, green, blue in [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def normalize(image: Real[Tensor, "b 3 H W"], name: str = "imagenet") -> Float[Tensor, "b 3 H W"]:
    """Colors from 0 to 255 to what an encoder is fed: (color / 255 - mean) / deviation."""
    mean, deviation = _statistics(name, image.device)
    if image.is_cuda:
        return (image / 255).sub_(mean).div_(deviation)  # in place: a third of the memory
    normal = torch.empty(image.shape)
    for one, out in zip(image, normal, strict=True):  # one fits into the cache: a third of the time
        torch.div(one, 255, out=out).sub_(mean).div_(deviation)
    return normal


def unnormalize(
    image: Float[Tensor, "b 3 H W"], name: str = "imagenet"
) -> Float[Tensor, "b 3 H W"]:
    """Back to colors in [0, 1]; a painted image may leave that range."""
    mean, deviation = _statistics(name, image.device)
    return image * deviation + mean


@cache  # a copy to the GPU in every step would make it wait
def _statistics(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    if name not in NORMALIZATIONS:
        raise unknown("normalization", name, NORMALIZATIONS)
    with torch.inference_mode(False):  # kept for later, when gradients may be asked for
        mean, deviation = (torch.tensor(three, device=device) for three in NORMALIZATIONS[name])
        return mean[:, None, None], deviation[:, None, None]
