"""Colors of classes: always the same for a number, and unlike those of the numbers beside it."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


@cache
def palette(count: int = 256) -> Float[Tensor, "count 3"]:
    """Red, green, blue in [0, 1] of each class: the color map of PASCAL VOC, from its second.

    There the bits of a number are dealt out to the three colors, the lowest to the highest bits.
    """
    numbers = torch.arange(1, count + 1)
    colors = torch.zeros(count, 3, dtype=torch.int64)
    for place in range(8):
        for color in range(3):
            colors[:, color] |= ((numbers >> (3 * place + color)) & 1) << (7 - place)
    return colors / 255


def class_colors(classes: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 3 H W"]:
    """A map of class numbers as it is drawn; NaN where it is."""
    table = palette().to(classes.device)
    known = classes.isfinite()
    colors = table[classes[:, 0].nan_to_num(0).long() % len(table)].permute(0, 3, 1, 2)
    return colors.where(known, torch.nan)
