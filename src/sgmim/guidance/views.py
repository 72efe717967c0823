"""The kinds of numbers that a map is to a method: standardized values, unit directions, ids of
classes, points in space, normals of their surface; and how people are shown each.

Points and normals are of depth that is 0 at the camera; its unit does not matter. Relative depth,
stretched from 0 to 1 over an image, is 0 at the nearest point instead, which bends planes: it lacks
the offset nearest / (farthest - nearest). That is `low` of its note (knowledge.json), one for all
images: 0.25 to 0.67 would be right for four fifths of made-up rooms, 0.02 to 0.05 for streets.
"""

from math import pi
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import pinhole
from sgmim.errors import DataError
from sgmim.losses import centered, trimmed_standardized

Kind = Literal["values", "directions", "classes", "coordinates", "normals"]
Map = Float[Tensor, "b _ H W"]

OF_SPACE = frozenset({"coordinates", "normals"})  # which take a camera


def seen_as(
    kind: Kind, known: Map, camera: Float[Tensor, "b 4"] | None, *, classes: int, eps: float
) -> Map:
    """A map as one kind of numbers, NaN where it is unknown.

    Args:
        kind: of numbers.
        known: the map of the batch: depth, where the kind is of space.
        camera: of each image, where the kind is of space.
        classes: how many there are; an id beyond is unknown.
        eps: see losses.trimmed_standardized.
    """
    if kind == "values":
        return trimmed_standardized(known, eps=eps)
    if kind == "directions":
        return F.normalize(known.float(), dim=1)
    if kind == "classes":
        return known.float().where((known >= 0) & (known < classes), torch.nan)
    assert camera is not None, "those who see points need a camera"
    points = pinhole.points(known.float(), camera)
    return centered(points) if kind == "coordinates" else pinhole.normals(points)


def drawn(kind: Kind, values: Map) -> Map:
    """For people: axes of space are colors, and classes hues, far apart for neighboring ids."""
    if kind == "coordinates":
        return values / 4 + 0.5  # two deviations to either side
    if kind in ("directions", "normals"):
        return pinhole.as_colors(values)
    if kind == "classes":
        thirds = torch.arange(3, device=values.device)[:, None, None] / 3
        return torch.cos(2 * pi * (values * 5**0.5 / 2 + thirds)) / 2 + 0.5
    return values


def check_ids(name: str, values: Map, classes: int) -> None:
    """Raise DataError where a map of class ids has others than there are."""
    ids = values[values.isfinite()]
    if not len(ids):
        return
    if len(odd := ids[ids != ids.round()]):
        raise DataError(
            f"{name} holds {odd[0].item():.4g}, which is no id of a class: if its files hold the "
            f"ids themselves, give --data.scale.{name} 1"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{name} holds ids from {low} to {high}, but {classes} classes have 0 to "
            f"{classes - 1}: say that there are more, or, where {high} stands for nothing known, "
            f"give --data.hole.{name} {high}"
        )
