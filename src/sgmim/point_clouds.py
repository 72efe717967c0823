"""Depth as colored points in space, and the file that Open3D, MeshLab and CloudCompare open."""

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from sgmim.pinhole import points

PLACE, COLOR = ("x", "y", "z"), ("red", "green", "blue")
VERTEX = np.dtype([(name, "<f4") for name in PLACE] + [(name, "u1") for name in COLOR])


def cloud(
    depth: Float[Tensor, "1 H W"], image: UInt8[Tensor, "3 H W"], camera: Float[Tensor, "4"]
) -> np.ndarray:
    """The pixels whose depth is known and above 0, in rows: points in the camera's frame, in the
    unit of the depth (x right, y down, z forward), colored as the image."""
    places = points(depth[None], camera[None])[0].flatten(1)
    known = places.isfinite().all(0) & (places[2] > 0)
    vertices = np.empty(int(known.sum()), VERTEX)
    for names, values in ((PLACE, places), (COLOR, image.flatten(1))):
        for name, row in zip(names, values[:, known].numpy(), strict=True):
            vertices[name] = row
    return vertices


def as_ply(vertices: np.ndarray, comment: str = "") -> bytes:
    """A binary PLY (Turk, "The PLY polygon file format", 1994) of what `cloud` gives."""
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comment.splitlines()),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in PLACE),
        *(f"property uchar {name}" for name in COLOR),
        "end_header",
    ]
    return "\n".join(header).encode("ascii", "replace") + b"\n" + vertices.tobytes()
