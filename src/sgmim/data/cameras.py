"""Pinhole cameras: where they are, how they are turned, the rays of their pixels.

Axes are x right, y down, z forward, in the world as in a camera. Products of matrices are spelled
out: the library's would round differently in a batch of another size.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    position: Float[Tensor, "b 3"]  # meters
    rotation: Float[Tensor, "b 3 3"]  # from the camera's frame to the world's
    focal: Float[Tensor, " b"]  # in lengths of the longer side of the image


def pixel_rays(focal: Float[Tensor, " b"], height: int, width: int) -> Float[Tensor, "b 3 n"]:
    """Rays through the middles of pixels, in the camera's frame; `focal` in pixels.

    Their z is 1, so that what lies `t` of them away has depth `t`.
    """
    down = torch.arange(height, device=focal.device) + 0.5 - height / 2
    right = torch.arange(width, device=focal.device) + 0.5 - width / 2
    plane = torch.stack([right.repeat(height), down.repeat_interleave(width)])
    rays = plane / focal[:, None, None]
    return torch.cat([rays, torch.ones_like(rays[:, :1])], 1)


def pose(first: Camera, second: Camera) -> dict[str, Tensor]:
    """What takes points from the frame of one camera to that of another."""
    back, way = second.rotation.mT, first.position - second.position
    return {
        "rotation": rotate(back, first.rotation),
        "translation": rotate(back, way[..., None])[..., 0],
    }


def turned(
    yaw: Float[Tensor, " b"], pitch: Float[Tensor, " b"], roll: Float[Tensor, " b"]
) -> Float[Tensor, "b 3 3"]:
    """The rotation of a camera that looks to the right, then down, then tilts clockwise."""
    return rotate(_about(1, yaw), rotate(_about(0, -pitch), _about(2, roll)))


def _about(axis: int, angle: Float[Tensor, " b"]) -> Float[Tensor, "b 3 3"]:
    matrix = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, i, i] = matrix[:, j, j] = angle.cos()
    matrix[:, j, i] = angle.sin()
    matrix[:, i, j] = -angle.sin()
    return matrix


def rotate(
    rotation: Float[Tensor, "b 3 3"], vectors: Float[Tensor, "b 3 n"]
) -> Float[Tensor, "b 3 n"]:
    """The product of the two."""
    (a, b, c), (x, y, z) = rotation[..., None].unbind(2), vectors[:, None].unbind(2)
    return a * x + b * y + c * z
