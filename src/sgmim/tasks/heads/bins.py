"""Adaptive bins: depth is a mixture of a few depths that are found anew for every image.

"BinsFormer: Revisiting Adaptive Bins for Monocular Depth Estimation" (Li et al., 2022,
arXiv:2204.00987), which SG-MIM's Table 2 quotes; after its authors' Monocular-Depth-Estimation-
Toolbox, without the query for the kind of scene that they add on NYU-v2.
"""

from itertools import cycle

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

EARLY = ((3, 1 / 4), (6, 1 / 2))  # after so many of nine layers, a loss of so much weight


class BinsHead(Head):
    """BinsFormer: adaptive bins, of depth alone."""

    scale = "share"

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        bins: int = 64,
        width: int = 256,
        layers: int = 9,
        heads: int = 8,
        mixing: Mixing = "msdeform",
        mixing_layers: int = 6,
        points: int = 8,
        dropout: float = 0.1,
        blocks: tuple[int, ...] | None = None,
    ):
        """
        Args:
            encoder: whose maps it reads.
            channels: 1.
            bins: depths that are mixed.
            width: channels of its maps and queries; 512 on a Swin-L.
            layers: in which the bins look at the image and at each other.
            heads: of attention.
            mixing: how a map is told of the others: a feature pyramid, or deformable attention.
            mixing_layers: of deformable attention.
            points: places that a head of it looks at on each map.
            dropout: share of the numbers that its training leaves out.
            blocks: four of a ViT, counted from 0; by default 2, 5, 8 and 11 of twelve.

        Raises:
            ConfigurationError: more than depth is asked for, a width that heads cannot share, or
                blocks that the encoder cannot have.
        """
        only_depth("bins", channels)
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
        self.queries = nn.Parameter(torch.randn(bins, width))
        self.places = nn.Parameter(torch.randn(bins, width))  # what tells queries apart
        self.level = nn.Parameter(torch.randn(len(self.levels) - 1, width))  # the map looked at
        self.layers = nn.ModuleList([BinLayer(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.bin = nn.Linear(width, 1)
        relus = (nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.sought = nn.Sequential(*relus, nn.Linear(width, width))

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b 1 H W"]:
        """See `Head`: 0 is the smallest depth, 1 the largest."""
        [(_, share)] = self.after(features, size, {len(self.layers): 1.0})
        return share

    def trained(
        self, features: Features, size: tuple[int, int]
    ) -> list[tuple[float, Float[Tensor, "b 1 H W"]]]:
        """See `Head`: what there is after a third and two thirds of the layers is trained too."""
        count = len(self.layers)
        early = {count * layer // 9: weight for layer, weight in EARLY if count * layer // 9}
        return self.after(features, size, early | {count: 1.0})

    def after(
        self, features: Features, size: tuple[int, int], weights: dict[int, float]
    ) -> list[tuple[float, Float[Tensor, "b 1 H W"]]]:
        """What is known after so many layers, each with its weight, the last first."""
        finest, *coarser = self.pixels(self.neck(features))
        memories = [self.memory(map, level) for map, level in zip(coarser, self.level, strict=True)]
        queries = self.queries.expand(len(finest), -1, -1)
        known = []
        # every layer looks at one map, from the coarsest to the finest and again
        looks = zip(self.layers, cycle(reversed(memories)), strict=False)
        for number, (layer, memory) in enumerate(looks, start=1):
            queries = layer(queries, self.places, *memory)
            if number in weights:
                share = resize(self.share(queries, finest), size, corners=True)
                known.append((weights[number], share))
        return known[::-1]

    def memory(
        self, map: Float[Tensor, "b d h w"], level: Float[Tensor, " d"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
        """A map as queries look at it: its cells with and without their places."""
        cells = tokens(map) + level
        height, width = map.shape[2:]
        return cells + sine((height, width), map.shape[1], map.device), cells

    def share(
        self, queries: Float[Tensor, "b bins d"], finest: Float[Tensor, "b d h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        """Every cell's mean of the centers of the bins, as likely as they are there."""
        queries = self.norm(queries)
        chances = torch.einsum("bnd, bdhw -> bnhw", self.sought(queries), finest)
        chances = chances.float().softmax(dim=1)
        # a product of matrices would be of half precision in bf16 training, and depth in steps
        middles = centers(self.bin(queries))[..., None, None]
        return (chances * middles).sum(dim=1, keepdim=True)

    def no_decay(self) -> set[str]:
        """Names of the queries and positions, which weight decay spares."""
        return {"queries", "places", "level"}


def centers(numbers: Float[Tensor, "b bins 1"]) -> Float[Tensor, "b bins"]:
    """The middles of bins that lie side by side from 0 to 1, as wide as the softmax of numbers."""
    widths = numbers.squeeze(-1).float().softmax(dim=-1)
    return widths.cumsum(dim=-1) - widths / 2


class BinLayer(nn.Module):
    """Queries look at the image, then at each other; each step is added and then normalized."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.look = CrossAttention(width, width, heads)
        self.agree = CrossAttention(width, width, heads)
        self.network = nn.Sequential(
            nn.Linear(width, 8 * width), nn.ReLU(), nn.Linear(8 * width, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(
        self,
        queries: Float[Tensor, "b bins d"],
        places: Float[Tensor, "bins d"],
        placed: Float[Tensor, "b n d"],
        cells: Float[Tensor, "b n d"],
    ) -> Float[Tensor, "b bins d"]:
        queries = self.norms[0](queries + self.look(queries + places, placed, cells))
        told = queries + places
        queries = self.norms[1](queries + self.agree(told, told, queries))
        return self.norms[2](queries + self.network(queries))
