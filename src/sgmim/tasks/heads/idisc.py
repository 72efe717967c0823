"""Internal discretization: an image is summed up in a few vectors, and its depth read off them.

"iDisc: Internal Discretization for Monocular Depth Estimation" (Piccinelli et al., 2023,
arXiv:2304.06334), which SG-MIM's Table 2 quotes; written from the paper's description.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.layers import CrossAttention, tokens
from sgmim.tasks.heads.base import Features, Head, only_depth
from sgmim.tasks.heads.convolutions import resize
from sgmim.tasks.heads.deformable import sine
from sgmim.tasks.heads.neck import Neck
from sgmim.tasks.heads.pixel_decoder import Mixing, PixelDecoder


class IDiscHead(Head):
    """iDisc: internal discretization, of depth alone."""

    scale = "exp"

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        representations: int = 32,
        representation_width: int = 128,
        iterations: int = 2,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        mixing: Mixing = "msdeform",
        mixing_layers: int = 6,
        points: int = 8,
        dropout: float = 0.0,
        blocks: tuple[int, ...] | None = None,
    ):
        """
        Args:
            encoder: whose maps it reads.
            channels: 1.
            representations: vectors that an image is summed up in, once a stride.
            representation_width: their channels.
            iterations: in which they share the image out.
            width: channels of the maps.
            layers: in which cells look at them.
            heads: of deformable attention.
            mixing: how a map is told of the others: a feature pyramid, or deformable attention.
            mixing_layers: of deformable attention.
            points: places that a head of it looks at on each map.
            dropout: share of the numbers that its training leaves out.
            blocks: four of a ViT, counted from 0; by default 2, 5, 8 and 11 of twelve.

        Raises:
            ConfigurationError: more than depth is asked for, a width that heads cannot share, or
                blocks that the encoder cannot have.
        """
        only_depth("idisc", channels)
        super().__init__(encoder, channels)
        self.neck = Neck(encoder, blocks=blocks)
        self.levels = self.neck.levels
        self.pixels = PixelDecoder(
            self.neck.widths,
            width,
            mixing,
            layers=mixing_layers,
            heads=heads,
            points=points,
            dropout=dropout,
        )
        self.partitions = nn.ModuleList()
        self.readings = nn.ModuleList()
        for _ in self.neck.widths[:-1]:  # the coarsest map has told the others what it knows
            self.partitions.append(
                Partition(representations, representation_width, width, iterations)
            )
            self.readings.append(Reading(width, representation_width, layers))

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b 1 H W"]:
        """See `Head`: the logarithm of the depth that the maps give on average."""
        maps = self.pixels(self.neck(features))[:-1]
        parts = zip(maps, self.partitions, self.readings, strict=True)
        depths = [self.depth(*part) for part in parts]
        finest = [resize(depth, depths[0].shape[2:], corners=True) for depth in depths]
        return resize(torch.stack(finest).mean(dim=0), size, corners=True).log()

    def depth(
        self, map: Float[Tensor, "b d h w"], partition: nn.Module, reading: nn.Module
    ) -> Float[Tensor, "b 1 h w"]:
        """What one map says of the depth."""
        height, width = map.shape[2:]
        cells = tokens(map) + sine((height, width), map.shape[1], map.device)
        log = reading(cells, partition(cells)).float()
        return log.exp().transpose(1, 2).unflatten(2, (height, width))


class Partition(nn.Module):
    """Adaptive feature partitioning: learned vectors share a map out among themselves."""

    def __init__(self, count: int, width: int, cell_width: int, iterations: int):
        super().__init__()
        self.representations = nn.Parameter(torch.randn(count, width))
        self.iterations = iterations  # which share their weights
        self.compete = Competition(width, cell_width)
        self.before = nn.LayerNorm(width)
        self.before_cells = nn.LayerNorm(cell_width)
        self.network = network(width)

    def forward(self, cells: Float[Tensor, "b n d"]) -> Float[Tensor, "b r k"]:
        cells = self.before_cells(cells)
        found = self.representations.expand(len(cells), -1, -1)
        for _ in range(self.iterations):
            found = found + self.compete(self.before(found), cells)
            found = found + self.network(found)
        return found

    def no_decay(self) -> set[str]:
        """Names of the tokens, which weight decay spares."""
        return {"representations"}


class Competition(nn.Module):
    """Attention in which the queries compete for every cell, as in slot attention."""

    def __init__(self, width: int, cell_width: int):
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(cell_width, width)
        self.v = nn.Linear(cell_width, width)
        self.project = nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "b r k"], cells: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b r k"]:
        scores = self.q(queries) @ self.k(cells).transpose(1, 2)
        shares = won(scores.float() * queries.shape[-1] ** -0.5)
        return self.project(shares.to(scores.dtype) @ self.v(cells))


def won(scores: Float[Tensor, "b r n"]) -> Float[Tensor, "b r n"]:
    """How a query's attention is spread over the cells, which sums to 1, after every cell has been
    shared out among the queries."""
    shares = scores.softmax(dim=1) + 1e-6  # so that a query that wins nothing sees everything
    return shares / shares.sum(dim=2, keepdim=True)


class Reading(nn.Module):
    """Internal scene discretization: every cell looks up in the vectors how far away it is."""

    def __init__(self, width: int, representation_width: int, layers: int):
        super().__init__()
        self.looks = nn.ModuleList(
            [CrossAttention(width, representation_width, heads=1) for _ in range(layers)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers)])
        self.networks = nn.ModuleList([network(width) for _ in range(layers)])
        self.before = nn.LayerNorm(representation_width)
        self.log = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, 1)
        )

    def forward(
        self, cells: Float[Tensor, "b n d"], found: Float[Tensor, "b r k"]
    ) -> Float[Tensor, "b n 1"]:
        found = self.before(found)
        for look, norm, network in zip(self.looks, self.norms, self.networks, strict=True):
            cells = cells + look(norm(cells), found, found)
            cells = cells + network(cells)
        return self.log(cells)


def network(width: int) -> nn.Sequential:
    hidden = 4 * width
    layers = (nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
    return nn.Sequential(nn.LayerNorm(width), *layers)
