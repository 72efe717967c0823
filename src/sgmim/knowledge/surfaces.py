"""Surfaces from depth: which way they face, seen through a camera that is stated or assumed."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import pinhole
from sgmim.errors import ConfigurationError


def from_depth(
    depth: Float[Tensor, "b 1 H W"], camera: Float[Tensor, "b 4"], smooth: int = 1
) -> Float[Tensor, "b 3 H W"]:
    """Unit normals towards the camera. NaN where the depth or a neighbor's is unknown.

    Points in space are averaged over `smooth` pixels a side first: those of a plane stay on it.
    """
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


class Lens:
    """The camera of images whose camera is stated, or assumed."""

    def __init__(self, intrinsics: tuple[float, ...] | None, field_of_view: float):
        if intrinsics is not None and min(intrinsics[:2]) <= 0:
            raise ConfigurationError(f"focal lengths are above zero, not {intrinsics[:2]}")
        if not 0 < field_of_view < 180:
            raise ConfigurationError(f"a field of view is 0 to 180 degrees, not {field_of_view}")
        self.intrinsics, self.field_of_view = intrinsics, field_of_view

    def camera(self, image: Tensor) -> Float[Tensor, "b 4"]:
        """As "camera" of a batch, for every image."""
        height, width = image.shape[-2:]
        if self.intrinsics is None:
            camera = pinhole.assumed_camera(height, width, self.field_of_view)
        else:
            camera = torch.tensor(self.intrinsics, dtype=torch.float32)
        return camera.to(image.device).expand(len(image), 4)

    def __str__(self) -> str:
        if self.intrinsics is None:
            return f"{self.field_of_view:g} degrees assumed"
        return "fx {:g} fy {:g} cx {:g} cy {:g}".format(*self.intrinsics)
