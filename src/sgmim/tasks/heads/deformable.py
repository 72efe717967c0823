"""Multi-scale deformable attention: every cell looks at a few places of maps of several strides.

"Deformable DETR" (Zhu et al., 2021, arXiv:2010.04159), sections 4.1 and 4.2, in plain torch: the
places are read by `grid_sample`, so that it runs wherever torch does.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.layers import tokens
from sgmim.tasks.heads.base import Features

Sizes = list[tuple[int, int]]  # of maps, cells down and across


@dataclass(frozen=True)
class Layout:
    """Where the cells of some maps are, one map after the other, row by row."""

    sizes: Sizes
    places: Float[Tensor, "n 2"]  # across and down, from 0 to 1
    apart: Float[Tensor, "levels 2"]  # how far the cells of a map are from each other

    @classmethod
    def of(cls, maps: Features) -> "Layout":
        """Made on the device of the maps, so that nothing waits for it."""
        device, sizes = maps[0].device, [(map.shape[2], map.shape[3]) for map in maps]
        apart = [torch.full((), 1 / side, device=device) for size in sizes for side in size[::-1]]
        places = torch.cat([centers(size, device) for size in sizes])
        return cls(sizes, places, torch.stack(apart).unflatten(0, (-1, 2)))

    @property
    def counts(self) -> list[int]:
        """How many cells each map has."""
        return [height * width for height, width in self.sizes]


class DeformableEncoder(nn.Module):
    """Maps that have looked at each other, layer after layer, each as large as before."""

    def __init__(
        self, width: int, layers: int, *, levels: int, heads: int, points: int, dropout: float
    ):
        super().__init__()
        self.level = nn.Parameter(torch.randn(levels, width))  # which map a cell is of
        self.layers = nn.ModuleList(
            [
                DeformableLayer(width, levels=levels, heads=heads, points=points, dropout=dropout)
                for _ in range(layers)
            ]
        )

    def forward(self, maps: Features) -> Features:
        layout, width = Layout.of(maps), maps[0].shape[1]
        positions = torch.cat(
            [
                sine(size, width, maps[0].device) + level
                for size, level in zip(layout.sizes, self.level, strict=True)
            ]
        )
        cells = torch.cat([tokens(map) for map in maps], dim=1)  # (b, cells of all maps, width)
        for layer in self.layers:
            cells = layer(cells, positions, layout)
        return [
            part.transpose(1, 2).unflatten(2, size)
            for part, size in zip(cells.split(layout.counts, dim=1), layout.sizes, strict=True)
        ]

    def no_decay(self) -> set[str]:
        """Names of the positions, which weight decay spares."""
        return {"level"}


class DeformableLayer(nn.Module):
    """Deformable attention and a small network, each added and then normalized."""

    def __init__(self, width: int, *, levels: int, heads: int, points: int, dropout: float):
        super().__init__()
        self.attention = DeformableAttention(width, levels=levels, heads=heads, points=points)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        cells: Float[Tensor, "b n d"],
        positions: Float[Tensor, "n d"],
        layout: Layout,
    ) -> Float[Tensor, "b n d"]:
        seen = self.attention(cells + positions, cells, layout)
        cells = self.norms[0](cells + self.drop(seen))
        return self.norms[1](cells + self.drop(self.network(cells)))


class DeformableAttention(nn.Module):
    """Where to look, counted from its own place, and what that counts: linear in the query."""

    def __init__(self, width: int, *, levels: int, heads: int, points: int):
        super().__init__()
        self.shape = (heads, levels, points)
        count = heads * levels * points
        self.offsets = nn.Linear(width, 2 * count)
        self.weights = nn.Linear(width, count)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.reset()

    def reset(self) -> None:
        """Start as the paper says: every head looks another way, a point a step farther out."""
        heads, levels, points = self.shape
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.project):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angles = 2 * pi / heads * torch.arange(heads)
        ways = torch.stack([angles.cos(), angles.sin()], dim=1)
        ways = ways / ways.abs().amax(dim=1, keepdim=True)  # onto a square around the place
        steps = torch.arange(1, points + 1)[:, None]
        bias = (ways[:, None, None] * steps).expand(heads, levels, points, 2)
        self.offsets.bias.data.copy_(bias.flatten())

    def forward(
        self, queries: Float[Tensor, "b n d"], cells: Float[Tensor, "b n d"], layout: Layout
    ) -> Float[Tensor, "b n d"]:
        """What the queries, one at the place of every cell, see of the cells of all maps."""
        heads, levels, points = self.shape
        offsets = self.offsets(queries).float().unflatten(-1, (heads, levels, points, 2))
        where = layout.places[:, None, None, None] + offsets * layout.apart[:, None]
        weights = self.weights(queries).float().unflatten(-1, (heads, -1)).softmax(dim=-1)
        values = self.value(cells).unflatten(-1, (heads, -1))
        seen = look(values, layout.sizes, where, weights.unflatten(-1, (levels, points)))
        return self.project(seen.to(queries.dtype))


def look(
    values: Float[Tensor, "b m heads c"],
    sizes: Sizes,
    where: Float[Tensor, "b n heads levels points 2"],
    weights: Float[Tensor, "b n heads levels points"],
) -> Float[Tensor, "b n heads*c"]:
    """The weighted sum of what lies at some places, bilinearly between cells; beyond a map is 0.

    In float32: in bfloat16 a place on a large map would be a cell off.
    """
    parts = values.float().split([height * width for height, width in sizes], dim=1)
    places = (2 * where - 1).transpose(1, 2).flatten(0, 1)  # (b * heads, n, levels, points, 2)
    weights = weights.transpose(1, 2).flatten(0, 1)
    seen = [
        look_at(part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, size), *there)
        for part, size, *there in zip(
            parts, sizes, places.unbind(2), weights.unbind(2), strict=True
        )
    ]
    return torch.stack(seen).sum(dim=0).unflatten(0, (len(values), -1)).flatten(1, 2).mT


def look_at(
    map: Float[Tensor, "b c h w"],
    places: Float[Tensor, "b n points 2"],
    weights: Float[Tensor, "b n points"],
) -> Float[Tensor, "b c n"]:
    """The weighted sum of what lies at some places of one map, from -1 to 1."""
    found = F.grid_sample(map, places, align_corners=False)  # (b, c, n, points)
    return (found * weights[:, None]).sum(dim=-1)


def centers(size: tuple[int, int], device: torch.device | None = None) -> Float[Tensor, "n 2"]:
    """Where the cells of a map are, across and down, from 0 to 1, row by row."""
    down, across = ((torch.arange(side, device=device) + 0.5) / side for side in size)
    return torch.cartesian_prod(down, across).flip(-1)


def sine(
    size: tuple[int, int], width: int, device: torch.device | None = None
) -> Float[Tensor, "n {width}"]:
    """Where the cells of a map are, as sines and cosines: first half down, then across.

    By the share of the way through the map, as DETR (Carion et al., 2020, arXiv:2005.12872), so
    that maps of several strides agree.
    """
    rates = 2 * pi * 10000.0 ** (-torch.arange(width // 4, device=device) / (width // 4))
    down, across = (torch.arange(1, side + 1, device=device) / side for side in size)
    angles = torch.cartesian_prod(down, across)[..., None] * rates  # (n, 2, width / 4)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
