"""Pinhole geometry: where the pixels of a depth map lie in space, and which way surfaces face.

A camera is four numbers, "camera" (b, 4) of a batch: focal lengths across and down, and the point
that looks straight ahead, across and down, in pixels; the middle of the first pixel is (0.5, 0.5).
Axes are x right, y down, z forward.
"""

from math import radians, tan

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.errors import ConfigurationError

FIELD_OF_VIEW = 60.0  # degrees, assumed where nothing is known; cameras of phones have 60 to 75


def assumed_camera(
    height: int, width: int, field_of_view: float = FIELD_OF_VIEW
) -> Float[Tensor, "4"]:
    """The camera that sees so many degrees along the longer side, and looks at the middle."""
    focal = max(height, width) / 2 / tan(radians(field_of_view) / 2)
    return torch.tensor([focal, focal, width / 2, height / 2])


class Lens:
    """The camera of images of any size, stated in pixels or assumed by its field of view.

    Args:
        camera: focal lengths across and down and the middle, in pixels of the whole image.
        field_of_view: degrees along the longer side, where no camera is stated; 60 if not told.

    Raises:
        ConfigurationError: no camera has these numbers, or both are given.
    """

    def __init__(
        self,
        camera: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
    ):
        if camera and field_of_view:
            raise ConfigurationError("a camera and a field of view both say what is seen; give one")
        field_of_view = FIELD_OF_VIEW if field_of_view is None else field_of_view
        if camera and min(camera[:2]) <= 0:
            raise ConfigurationError(f"focal lengths are above 0 pixels, not {camera[:2]}")
        if not 0 < field_of_view < 180:
            raise ConfigurationError(
                f"a field of view lies between 0 and 180 degrees, and is not {field_of_view}"
            )
        self.stated, self.field_of_view = camera, field_of_view

    def camera(self, height: int, width: int) -> Float[Tensor, "4"]:
        """As "camera" of an image of this size."""
        if self.stated:
            return torch.tensor(self.stated, dtype=torch.float32)
        return assumed_camera(height, width, self.field_of_view)

    def __str__(self) -> str:
        if self.stated is None:
            return f"{self.field_of_view:g} degrees assumed"
        return "fx {:g} fy {:g} cx {:g} cy {:g}".format(*self.stated)


def points(
    depth: Float[Tensor, "b 1 H W"], camera: Float[Tensor, "b 4"]
) -> Float[Tensor, "b 3 H W"]:
    """Where every pixel lies, in the unit of the depth; NaN where the depth is."""
    height, width = depth.shape[-2:]
    focal_across, focal_down, middle_across, middle_down = camera[..., None].unbind(1)
    across = torch.arange(width, device=depth.device) + 0.5
    down = torch.arange(height, device=depth.device) + 0.5
    x = ((across - middle_across) / focal_across)[:, None, None, :]
    y = ((down - middle_down) / focal_down)[:, None, :, None]
    return torch.cat([x * depth, y * depth, depth], dim=1)


def normals(points: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Unit normals of the surface, towards the camera, by differences of neighbors on both sides.

    At the border by one side. NaN where a pixel or a neighbor is unknown.
    """
    across, down = torch.gradient(points, dim=(3, 2))
    normal = torch.linalg.cross(down, across, dim=1)
    length = normal.norm(dim=1, keepdim=True)
    return (normal / length).where((length > 0) & points.isfinite(), torch.nan)


def as_colors(normals: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """As normals are usually shown: red to the right, green upwards, blue towards the camera."""
    return normals * normals.new_tensor([0.5, -0.5, -0.5])[:, None, None] + 0.5
