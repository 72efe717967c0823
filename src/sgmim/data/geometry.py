"""One crop and one flip for an image and all maps that lie on it, and how colors are normalized.

Every map has a rule: how it is interpolated, and what a mirror does to its values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import rotate

from sgmim.errors import unknown


@dataclass(frozen=True)
class Rule:
    """How one kind of map moves. What is not named in RULES is dense and only moves."""

    interpolation: Literal["bilinear", "bicubic", "nearest", "points"] = "bilinear"
    mirrored: tuple[int, ...] = ()  # channels that change sign as left and right change places
    upended: tuple[int, ...] = ()  # and as up and down do


POINTS = Rule(interpolation="points")  # marked pixels, each of which moves to where its middle lies
Interpolation = Literal["bilinear", "bicubic"]  # of images
RULES = {
    "normals": Rule(mirrored=(0,), upended=(1,)),  # x points to the right, y down
    "classes": Rule(interpolation="nearest"),
    "segments": Rule(interpolation="nearest"),
    "sparse": Rule(interpolation="nearest"),  # depth from a laser: mostly NaN, which would spread
    "fast": POINTS,
    "orb": POINTS,
    "sift": POINTS,
}


def rule(name: str) -> Rule:
    return RULES.get(name, Rule())


class Crop(NamedTuple):
    """A rectangle in pixels, mirrored and upended or not."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    vertical_flip: bool = False


def center_crop(height: int, width: int, aspect: float, share: float = 1.0) -> Crop:
    """The largest centered rectangle of that width / height, its sides times `share`."""
    h = max(1, round(share * min(height, width / aspect)))
    w = max(1, round(share * min(width, height * aspect)))
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def cut(
    sample: dict[str, Tensor],
    crop: Crop,
    size: tuple[int, int],
    *,
    antialias: bool = True,
    interpolation: Interpolation = "bilinear",
) -> dict[str, Tensor]:
    """Crop, resize to `size` (height, width) and flip the image, every map (c, H, W) that lies on
    it and the camera (4,), see pinhole.py.

    An image is bilinear or bicubic, either antialiased unless told. Maps are as their rules say;
    what rests on an unknown pixel (NaN) becomes unknown, and a map of which less than half is
    known, as a laser's depth, is not interpolated.
    Whatever else does not lie on the image, such as a label, is left as it is.
    """
    rules = {name: rule(name) for name in sample} | {"image": Rule(interpolation)}
    done = {
        name: _cut(value, rules[name], crop, size, antialias) if value.ndim == 3 else value
        for name, value in sample.items()
    }
    return done | {"camera": _moved(done["camera"], crop, size)} if "camera" in done else done


def fit(
    sample: dict[str, Tensor],
    size: tuple[int, int],
    *,
    share: float | None = None,
    interpolation: Interpolation = "bilinear",
) -> dict[str, Tensor]:
    """For evaluation: the whole image in `size`, its shape not kept; or, where a `share` is given,
    the center crop that keeps it: 0.875 is the usual resize to 256 and center crop of 224."""

    def fitted(sample: dict[str, Tensor]) -> dict[str, Tensor]:
        height, width = sample["image"].shape[-2:]
        crop = Crop(0, 0, height, width)
        if share is not None:
            crop = center_crop(height, width, size[1] / size[0], share)
        return cut(sample, crop, size, interpolation=interpolation)

    return by_photograph(sample, fitted)


def parted(sample: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The image with all that lies on it; and the second photograph of its scene, on which nothing
    does, as the "image" of a sample of its own, which is empty where there is none."""
    first = {name: value for name, value in sample.items() if name != "second"}
    return first, {"image": sample["second"]} if "second" in sample else {}


def by_photograph(
    sample: dict[str, Tensor], change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The image with all that lies on it changed, and a second photograph by itself."""
    first, second = parted(sample)
    return change(first) | ({"second": change(second)["image"]} if second else {})


def padded(sample: dict[str, Tensor], size: tuple[int, int], name: str) -> dict[str, Tensor]:
    """Made as large as `size` at the bottom and the right: the image by the mean color of the
    normalization of that name, which becomes 0, and the maps, floats, by what is unknown."""
    height, width = sample["image"].shape[-2:]
    margin = (0, size[1] - width, 0, size[0] - height)
    if not any(margin):
        return sample
    maps = {
        name: F.pad(value, margin, value=torch.nan)
        for name, value in sample.items()
        if value.ndim == 3 and name != "image"
    }
    image = mean_color(name)[:, None, None].repeat(1, *size)
    image[:, :height, :width] = sample["image"]
    return sample | maps | {"image": image}


def rotated(sample: dict[str, Tensor], degrees: float, name: str) -> dict[str, Tensor]:
    """Image and maps turned about their middle, counterclockwise, within their size.

    The image is bilinear, maps are nearest. What comes in at the corners is as in `padded`.
    """
    maps = {
        name: rotate(value, degrees, InterpolationMode.NEAREST, fill=torch.nan)
        for name, value in sample.items()
        if value.ndim == 3 and name != "image"
    }
    fill = mean_color(name).tolist()
    image = rotate(sample["image"], degrees, InterpolationMode.BILINEAR, fill=fill)
    return sample | maps | {"image": image}


def _cut(value: Tensor, rule: Rule, crop: Crop, size: tuple[int, int], antialias: bool) -> Tensor:
    top, left, height, width, *_ = crop
    value = value[:, top : top + height, left : left + width]
    if (height, width) != size:
        value = _resized(value, size, _interpolation(value, rule), antialias)
    for flipped, axis, negated in (
        (crop.flip, -1, rule.mirrored),
        (crop.vertical_flip, -2, rule.upended),
    ):
        if flipped:
            value = value.flip(axis)
            for channel in negated:
                value[channel].neg_()
    return value


def _interpolation(value: Tensor, rule: Rule) -> str:
    """How a map is resized: by its rule, but for one of which little is known, as a laser's depth.
    What rests on an unknown pixel is unknown, and bilinear would leave nothing of that."""
    if rule.interpolation == "bilinear" and value.is_floating_point():
        some = value[:, ::5, ::7]  # every pixel would take as long as to resize them
        return "nearest" if 2 * some.isnan().sum() > some.numel() else "bilinear"
    return rule.interpolation


def _resized(value: Tensor, size: tuple[int, int], interpolation: str, antialias: bool) -> Tensor:
    """As torchvision's `resize`, whose way to this takes a fifth of a small image's time."""
    if interpolation == "points":
        return _scattered(value, size)
    if interpolation == "nearest":
        return F.interpolate(value[None], size, mode="nearest-exact")[0]
    if antialias:
        return F.interpolate(value[None], size, mode=interpolation, antialias=True)[0]
    resized = F.interpolate(value[None].float(), size, mode=interpolation)[0]
    return resized if value.is_floating_point() else resized.round_().clamp_(0, 255).to(value.dtype)


def _scattered(marks: Tensor, size: tuple[int, int]) -> Tensor:
    """Marks (c, h, w) in a picture of another size, where their middles come to lie."""
    moved = marks.new_zeros(len(marks), *size)
    channel, *places = marks.nonzero(as_tuple=True)
    rows, columns = (
        ((place + 0.5) * (to / before)).long()
        for place, to, before in zip(places, size, marks.shape[1:], strict=True)
    )
    moved[channel, rows, columns] = 1
    return moved


def _moved(camera: Tensor, crop: Crop, size: tuple[int, int]) -> Tensor:
    """The camera of a crop. Flips turn the world over: the picture is that of a mirrored one."""
    across, down = size[1] / crop.width, size[0] / crop.height
    focal_across, focal_down, x, y = camera.tolist()
    x, y = (x - crop.left) * across, (y - crop.top) * down
    x, y = size[1] - x if crop.flip else x, size[0] - y if crop.vertical_flip else y
    return camera.new_tensor([focal_across * across, focal_down * down, x, y])


NORMALIZATIONS = {  # mean and standard deviation of red, green, blue in [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def mean_color(name: str) -> UInt8[Tensor, "3"]:
    """The color from 0 to 255 that a normalization makes 0, or nearly so."""
    mean, _ = _statistics(name, torch.device("cpu"))
    return (255 * mean.flatten()).round().byte()


def normalize(image: Real[Tensor, "b 3 H W"], name: str = "imagenet") -> Float[Tensor, "b 3 H W"]:
    """Colors from 0 to 255 to what an encoder is fed: (color / 255 - mean) / deviation."""
    mean, deviation = _statistics(name, image.device)
    if image.is_cuda or image.requires_grad:
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
