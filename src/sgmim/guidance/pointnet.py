"""One token for each square of a map, from the points in space that its pixels are: "PointNet: Deep
Learning on Point Sets for 3D Classification and Segmentation" (Qi et al., 2017).

https://arxiv.org/abs/1612.00593
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.layers import mask_token, patches, take
from sgmim.masking import Part


class PointNet(nn.Module):
    """A shared MLP of every point, then the maximum over the points of a square: their order says
    nothing, and a square sees no other.

    An MLP is given where a point lies, and where from the middle of its square: as in PointNet++
    ("Deep Hierarchical Feature Learning on Point Sets in a Metric Space", 2017), the shape of a
    surface is then the same wherever it is. Pixels of which nothing is known are not among the
    points; a square of nothing else is a token of its own, as is one that is kept but not shown.

    The MLP is 6 -> 64 -> 128, and only what is left of a square is made as wide as the encoder: at
    1024 before the maximum, as PointNet has, it would cost a quarter of a step of Swin-B.

    Args:
        encoder: gives the width.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 128))
        self.nothing = mask_token(128)
        self.out = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, encoder.dim))

    def forward(
        self,
        points: Float[Tensor, "b 3 H W"],
        seen: Part,
        hidden: Part | None,
        encoder: Encoder,
    ) -> Float[Tensor, "b k d"]:
        """Of points around the middle of their cloud (losses.centered), NaN where unknown."""
        squares = take(patches(points, seen.size), seen.squares).unflatten(2, (3, -1))
        squares = squares.transpose(2, 3)  # (b, k, points, 3)
        known = squares.isfinite().all(dim=3, keepdim=True)
        there = squares.nan_to_num()
        middle = (there * known).sum(dim=2, keepdim=True)
        middle = middle / known.sum(dim=2, keepdim=True).clamp(min=1)
        # a point that is there twice changes no maximum: another takes the place of an unknown one
        another = there.take_along_dim(known.byte().argmax(dim=2, keepdim=True), dim=2)
        there = there.where(known, another)
        each = self.shared(torch.cat([there, there - middle], dim=3))  # (b, k, points, 128)
        most = each.max(dim=2).values
        found = most.where(known.any(dim=2), self.nothing.to(most.dtype))
        if hidden is not None:
            blanks = self.nothing.to(most.dtype).expand(*hidden.squares.shape, -1)
            found = torch.cat([found, blanks], dim=1)
        return self.out(found)
