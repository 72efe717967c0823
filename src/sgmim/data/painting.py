"""How scenes look: patterns, colors and light, drawn without regard to where things are."""

from dataclasses import dataclass
from math import tau

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.raycast import Solids, cast, dot, length, pick
from sgmim.data.scenery import SKY, Dice, Place

CLOUDS = 32  # cells a side of the noise that roughens a scene's patterns


@dataclass(frozen=True)
class Paint:
    """The looks of each of the `s` surfaces of a scene."""

    color: Float[Tensor, "b s 3"]
    other: Float[Tensor, "b s 3"]  # what the pattern changes to
    pattern: Int[Tensor, "b s"]  # which of `patterns`
    period: Float[Tensor, "b s"]  # meters
    angle: Float[Tensor, "b s"]  # radians
    clouds: Float[Tensor, "b u u"]


@dataclass(frozen=True)
class Lights:
    """Lamps. The sun is one that is far away and does not fade."""

    position: Float[Tensor, "b l 3"]
    color: Float[Tensor, "b l 3"]
    reach: Float[Tensor, "b l"]  # meters to where half of it is left
    ambient: Float[Tensor, "b 3"]
    sky: Float[Tensor, "b 1"]  # how bright the sky itself looks


def paint(
    dice: Dice, label: Int[Tensor, "b s"], grain: Float[Tensor, "b 1"], contrast: float = 1.0
) -> Paint:
    """Looks for surfaces with these classes; `grain` is a middling period of their patterns."""
    s, sky = label.shape[1], label == SKY
    color, other = palette(dice, s), palette(dice, s)
    pattern = dice(0, 7, s).long()
    return Paint(
        color=color,
        other=color + contrast * dice(0.3, 1, s, 1) * (other - color),
        pattern=torch.where(sky, pattern.clamp(max=1), pattern),  # a sky is plain or cloudy
        period=torch.where(sky, 0.2, grain * dice(-1.2, 1.2, s).exp()),  # its unit: see photograph
        angle=dice(0, tau, s) * dice.chance(0.3, s),
        clouds=dice(0, 1, CLOUDS, CLOUDS),
    )


def illuminate(dice: Dice, place: Place) -> Lights:
    gain, tint = dice(-0.6, 0.3, 1, 1).exp(), 0.85 + 0.3 * palette(dice, 2)
    power = torch.stack([dice(0.5, 1.1), dice(0, 0.5)], 1)[..., None]
    ambient = dice(0.2, 0.5, 1) * tint[:, 0]
    sky = dice(0.4, 1, 1)
    return Lights(
        place.lamps, gain * power * tint, place.reach, gain[:, 0] * ambient, gain[:, 0] * sky
    )


def palette(dice: Dice, count: int) -> Float[Tensor, "b {count} 3"]:
    """Colors of any hue, by value and saturation."""
    value, hue, saturation = dice(0.1, 0.9, count, 1), dice(0, 6, count, 1), dice(0, 0.8, count, 1)
    distance = ((hue + dice.always(0, 2, 4)[:, None]) % 6 - 3).abs()  # from red, green, blue
    return value * (1 - saturation * (2 - distance).clamp(0, 1))


def textured(
    paint: Paint,
    which: Int[Tensor, "b n"],
    local: Float[Tensor, "b 3 n"],
    level: Float[Tensor, "b n"],
    blur: Float[Tensor, "b n"],
) -> Float[Tensor, "b 3 n"]:
    """The color of points on surfaces; a pattern finer than `blur`, a pixel there, averages out.

    Patterns lie in the ground plane where a surface is `level` (1), else (0) go around it and up.
    """
    numbers = torch.stack([paint.period, paint.angle.cos(), paint.angle.sin(), paint.pattern], 2)
    period, cos, sin, pattern = pick(numbers, which).unbind(1)
    x, y, z = (local / period[:, None]).unbind(1)
    across, along = x + (1 - level) * z, y + level * (z - y)
    u, v = cos * across + sin * along + 0.37, cos * along - sin * across + 0.37  # no line on a face
    noise = cloudy(paint.clouds, u, v)
    value = patterns(u, v, noise).gather(1, pattern.long()[:, None])
    clear = (1.5 - 3 * blur / period).clamp(0, 1)[:, None]
    color, other = pick(paint.color, which), pick(paint.other, which)
    mixed = color + (0.4 + clear * (value - 0.4)) * (other - color)
    return mixed * (1 + 0.3 * clear * (noise[:, None] - 0.5))


def patterns(u, v, noise) -> Float[Tensor, "b 7 n"]:
    """Plain, cloudy, veined, checked, striped, bricked, windowed; from 0 to 1."""
    row = (2 * v).floor()
    gap = (2 * v - row < 0.15) | ((u + 0.5 * row) % 1 < 0.08)
    pane = torch.maximum((u % 1 - 0.5).abs(), (v % 1 - 0.5).abs()) < 0.28
    return torch.stack(
        [
            torch.zeros_like(u),
            noise,
            2 * ((u + 1.5 * noise) % 1 - 0.5).abs(),
            (u.floor() + v.floor()) % 2,
            u.floor() % 2,
            gap.to(u),
            pane.to(u),
        ],
        dim=1,
    )


def cloudy(clouds, u, v):
    """Smooth noise between 0 and 1, four bumps to a period; it repeats after eight."""
    tile = F.pad(clouds[:, None], (0, 1, 0, 1), mode="circular")
    place = 2 * (torch.stack([u, v], 2)[:, None] / 8 % 1) - 1
    return F.grid_sample(tile, place, align_corners=True)[:, 0, 0]


def lit(
    lights: Lights,
    solids: Solids,
    point: Float[Tensor, "b 3 n"],
    normal: Float[Tensor, "b 3 n"],
) -> Float[Tensor, "b 3 n"]:
    """The light that falls on points. A lamp reaches what a ray from it meets first."""
    total = lights.ambient[..., None] * (1 - 0.3 * normal[:, 1:2])  # more from above
    for i in range(lights.position.shape[1]):
        away = point - lights.position[:, i, :, None]
        distance = length(away)
        first = cast(solids, lights.position[:, i], away).amin(1, keepdim=True)
        reached = first > 1 - 0.02 / distance  # 2 cm of slack for rounding
        facing = (-dot(normal, away) / distance).relu()
        fading = 1 + (distance / lights.reach[:, i, None, None]).square()
        total = total + lights.color[:, i, :, None] * (facing * reached / fading)
    return total
