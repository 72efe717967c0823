"""Colors changed at random: what the papers do to a photograph, by name.

Each takes the bytes of an image and gives bytes; it is given as many random numbers in [0, 1) as
it asks for, of the sample's key alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as TV

from sgmim import draws
from sgmim.data.crops import between

STREAM = 781  # of a sample's random numbers
NUMBERS = 13  # that any of the sets needs


def changed(key: int, image: UInt8[Tensor, "3 H W"], name: str) -> UInt8[Tensor, "3 H W"]:
    """An image in other colors, by the set of that name, see `SETS`."""
    change = SETS[name]
    return change(image, list(draws.numbers(key, range(NUMBERS), STREAM))) if change else image


def glp(image: UInt8[Tensor, "3 H W"], chances: Sequence[float]) -> UInt8[Tensor, "3 H W"]:
    """As GLPDepth and MIM-Depth-Estimation (albumentations' defaults): each with probability 1/2,
    brightness and contrast, a gamma, and a shift of hue, saturation and value."""
    light, power, shift, contrast, brightness, gamma, hue, saturation, value, *_ = chances
    levels = torch.arange(256.0)
    if light < 0.5:
        plus = 255 * between(-0.2, 0.2, brightness)
        levels = _bytes(levels * between(0.8, 1.2, contrast) + plus)
    if power < 0.5:
        levels = _bytes(255 * (levels / 255) ** between(0.8, 1.2, gamma))
    if min(light, power) < 0.5:
        image = looked_up(image, levels)
    if shift < 0.5:
        h, s, v = hsv(image)
        h = h + between(-40.0, 40.0, hue) / 60
        s = (s + between(-30.0, 30.0, saturation) / 255).clamp_(0, 1)
        v = (v + between(-20.0, 20.0, value)).clamp_(0, 255)
        image = rgb(h, s, v)
    return image


def mmseg(image: UInt8[Tensor, "3 H W"], chances: Sequence[float]) -> UInt8[Tensor, "3 H W"]:
    """PhotoMetricDistortion of MMSegmentation: each with probability 1/2, brightness, contrast
    (by a coin before what follows or after it), saturation and hue."""
    light, stretch, late, strength, turn, brightness, contrast, saturation, hue, *_ = chances
    times = between(0.5, 1.5, contrast) if stretch < 0.5 else 1.0
    plus = between(-32.0, 32.0, brightness) if light < 0.5 else 0.0
    levels = _bytes(torch.arange(256.0) + plus)
    image = looked_up(image, levels if late < 0.5 else _bytes(levels * times))
    if min(strength, turn) < 0.5:
        h, s, v = hsv(image)
        if strength < 0.5:
            s = (s * between(0.5, 1.5, saturation)).clamp_(0, 1)
        if turn < 0.5:
            h = h + between(-36.0, 36.0, hue) / 60
        image = rgb(h, s, v)
    if late < 0.5 and stretch < 0.5:
        image = looked_up(image, _bytes(torch.arange(256.0) * times))
    return image


def multimae(image: UInt8[Tensor, "3 H W"], chances: Sequence[float]) -> UInt8[Tensor, "3 H W"]:
    """What MultiMAE is fine-tuned with on NYU: with probability 1/2 torchvision's ColorJitter, its
    four parts in any order; with 0.3 grey."""
    jitter, grey, *rest = chances
    ranges = {
        TV.adjust_brightness: (1 - 0.1255, 1 + 0.1255),
        TV.adjust_contrast: (0.6, 1.4),
        TV.adjust_saturation: (0.5, 1.5),
        TV.adjust_hue: (-0.2, 0.2),  # of a circle
    }
    if jitter < 0.5:
        image = jittered(image, ranges, rest[:4], rest[4:8])
    return TV.rgb_to_grayscale(image, num_output_channels=3) if grey < 0.3 else image


def byol(
    image: UInt8[Tensor, "3 H W"],
    chances: Sequence[float],
    *,
    blurred: float,
    solarized: float,
) -> UInt8[Tensor, "3 H W"]:
    """What BYOL, MoCo v3 and DINO compare crops in, whose first and second differ in how often they
    are blurred and solarized ("Bootstrap Your Own Latent", Grill et al., 2020, appendix B): with
    probability 0.8 torchvision's ColorJitter, its four parts in any order; with 0.2 grey; a blur of
    0.1 to 2 pixels, which is the same for a crop of any size; what is above 127 turned over."""
    jitter, grey, blur, solar, sigma, *rest = chances
    ranges = {
        TV.adjust_brightness: (0.6, 1.4),
        TV.adjust_contrast: (0.6, 1.4),
        TV.adjust_saturation: (0.8, 1.2),
        TV.adjust_hue: (-0.1, 0.1),  # of a circle
    }
    if jitter < 0.8:
        image = jittered(image, ranges, rest[:4], rest[4:8])
    if grey < 0.2:
        image = TV.rgb_to_grayscale(image, num_output_channels=3)
    if blur < blurred:
        deviation = between(0.1, 2.0, sigma)
        reach = min(ceil(3 * deviation), *(side - 1 for side in image.shape[1:]))
        image = TV.gaussian_blur(image, [2 * reach + 1] * 2, [deviation] * 2)
    return TV.solarize(image, 128) if solar < solarized else image


def croco(image: UInt8[Tensor, "3 H W"], chances: Sequence[float]) -> UInt8[Tensor, "3 H W"]:
    """What CroCo is pre-trained with, each of its two views by itself: torchvision's ColorJitter
    without hue."""
    parts = (TV.adjust_brightness, TV.adjust_contrast, TV.adjust_saturation)
    return jittered(image, dict.fromkeys(parts, (0.6, 1.4)), chances[:3], chances[3:6])


def jittered(
    image: UInt8[Tensor, "3 H W"],
    ranges: Mapping[Callable[..., Tensor], tuple[float, float]],
    amounts: Sequence[float],
    places: Sequence[float],
) -> UInt8[Tensor, "3 H W"]:
    """torchvision's ColorJitter: its parts in any order, each by an amount in its range."""
    ways = zip(places, amounts, ranges.items(), strict=True)
    for _, amount, (change, ends) in sorted(ways, key=lambda way: way[0]):
        image = change(image, between(*ends, amount))
    return image


Change = Callable[[Tensor, Sequence[float]], Tensor]
FIRST = partial(byol, blurred=1.0, solarized=0.0)
SECOND = partial(byol, blurred=0.1, solarized=0.2)
SETS: dict[str, Change | None] = {
    "none": None,
    "glp": glp,
    "mmseg": mmseg,
    "multimae": multimae,
    "croco": croco,
    "moco_first": FIRST,
    "moco_second": SECOND,
    "dino_first": FIRST,
    "dino_second": SECOND,
    "dino_part": partial(byol, blurred=0.5, solarized=0.0),
}


def looked_up(image: UInt8[Tensor, "3 H W"], levels: Float[Tensor, "256"]) -> Tensor:
    """An image in which every byte becomes another, by a table."""
    return levels.byte().index_select(0, image.flatten().int()).view(image.shape)


def hsv(image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """Hue in sixths of a circle from red over yellow, from -1 to 5 and 0 where there is none;
    saturation in [0, 1]; value in [0, 255]."""
    red, green, blue = color = image.float()
    value, low = color.amax(0), color.amin(0)
    chroma = value - low
    span = chroma.clamp_min(1)
    hue = torch.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span)
    hue = torch.where(value == red, (green - blue) / span, hue)
    return torch.stack([hue, chroma / value.clamp_min(1), value])


def rgb(
    hue: Float[Tensor, "H W"], saturation: Float[Tensor, "H W"], value: Float[Tensor, "H W"]
) -> UInt8[Tensor, "3 H W"]:
    """Back to bytes; a hue may have gone round the circle."""
    hue, chroma = hue.remainder(6), value * saturation
    gaps = (2 - (hue - 3).abs_(), (hue - 2).abs_() - 1, (hue - 4).abs_() - 1)  # to the value
    colors = (torch.addcmul(value, chroma, gap.clamp_(0, 1), value=-1) for gap in gaps)
    return torch.stack([_bytes(color).byte() for color in colors])


def _bytes(levels: Tensor) -> Tensor:
    """Rounded, and none below 0 or above 255."""
    return levels.round().clamp_(0, 255)
