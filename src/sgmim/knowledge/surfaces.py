"""Surfaces from depth: which way they face."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import pinhole


def from_depth(
    depth: Float[Tensor, "b 1 H W"], lens: pinhole.Lens, smooth: int = 1
) -> Float[Tensor, "b 3 H W"]:
    """Unit normals towards the camera. NaN where the depth or a neighbor's is unknown.

    Points in space are averaged over `smooth` pixels a side first: those of a plane stay on it.
    """
    height, width = depth.shape[-2:]
    camera = lens.camera(height, width).to(depth.device).expand(len(depth), 4)
    return pinhole.normals(averaged(pinhole.points(depth, camera), smooth))


def averaged(points: Float[Tensor, "b c H W"], side: int) -> Float[Tensor, "b c H W"]:
    """Every known pixel as the mean of what is known in the square around it."""
    if side == 1:
        return points
    known = points.isfinite()
    total, count = (
        F.avg_pool2d(each, side, stride=1, padding=side // 2)
        for each in (points.where(known, 0), known.float())
    )
    return (total / count).where(known, torch.nan)
