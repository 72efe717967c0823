"""Which knowledge is cheap enough to be computed as a run goes (--data.live, data/live.py)."""

from jaxtyping import Float
from torch import Tensor

from sgmim import pinhole
from sgmim.data.live import Live
from sgmim.knowledge.edges import edges


def normals(
    depth: Float[Tensor, "b 1 H W"], camera: Float[Tensor, "b 4"]
) -> Float[Tensor, "b 3 H W"]:
    """Of the surface that a depth map is of."""
    return pinhole.normals(pinhole.points(depth, camera))


LIVE = {"edges": Live(edges), "normals": Live(normals, needs=("depth", "camera"))}
