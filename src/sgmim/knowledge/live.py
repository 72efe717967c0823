"""Which knowledge is cheap enough to be computed as a run goes (--data.live, data/live.py)."""

from jaxtyping import Float
from torch import Tensor

from sgmim import pinhole
from sgmim.data.live import Live, Where
from sgmim.knowledge import keypoints
from sgmim.knowledge.edges import edges

ONE_BY_ONE: tuple[Where, ...] = ("crop", "image")  # by OpenCV, in the processes that load


def normals(
    depth: Float[Tensor, "b 1 H W"], camera: Float[Tensor, "b 4"]
) -> Float[Tensor, "b 3 H W"]:
    """Of the surface that a depth map is of."""
    return pinhole.normals(pinhole.points(depth, camera))


LIVE = {
    "edges": Live(edges),
    "normals": Live(normals, needs=("depth", "camera")),
    "fast": Live(keypoints.fast),
    "orb": Live(keypoints.orb, where=ONE_BY_ONE),
    "sift": Live(keypoints.sift, where=ONE_BY_ONE),
    "orb_rings": Live(keypoints.orb_rings, where=("crop",)),  # would not stay rings in a crop
    "sift_rings": Live(keypoints.sift_rings, where=("crop",)),
}
