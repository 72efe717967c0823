"""SG-MIM's feature fusion: image features ask the features of a map (paper, "Relational Guidance
Framework")."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import CrossAttention, sincos


class Fusion(nn.Module):
    """Guided features of some cells of an image, from the features of some cells of its map.

    Args:
        encoder: whose features are guided.
        blocks: cross-attention blocks, one after the other.
        heads: of each.
        positions: "sincos", fixed and given to queries and keys alone; "learned", one table added
            to the features on both sides (the authors' later code); "none" (their first), where the
            attention cannot tell one cell of the map from another.

    Raises:
        ConfigurationError: no blocks or heads, or heads that do not divide the features.
    """

    position: nn.Parameter | None  # learned
    fixed: Float[Tensor, "n d"] | None

    def __init__(self, encoder: Encoder, *, blocks: int = 1, heads: int = 8, positions: str):
        super().__init__()
        if blocks < 1 or heads < 1:
            raise ConfigurationError(
                f"{blocks} fusion blocks of {heads} heads guide nothing: ask for 1 or more of each"
            )
        if encoder.dim % heads:
            near = min(
                (n for n in range(1, encoder.dim + 1) if encoder.dim % n == 0),
                key=lambda n: abs(n - heads),
            )
            raise ConfigurationError(
                f"{heads} fusion heads do not divide {encoder.dim} channels: the nearest is {near}"
            )
        self.blocks = nn.ModuleList(FusionBlock(encoder.dim, heads) for _ in range(blocks))
        rows, columns = encoder.grid
        if positions == "learned":
            table = nn.init.trunc_normal_(torch.empty(rows * columns, encoder.dim), std=0.02)
            self.position = nn.Parameter(table)
        else:
            fixed = sincos(encoder.grid, encoder.dim) if positions == "sincos" else None
            self.register_buffer("fixed", fixed, persistent=False)
            self.position = None

    def forward(
        self,
        features: Float[Tensor, "b n d"],
        cells: Int[Tensor, "b n"],
        context: Float[Tensor, "b m d"],
        context_cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, "b n d"]:
        """`cells` and `context_cells` are the places of the tokens, row by row."""
        here = there = None
        if self.position is not None:
            features = features + self.position[cells]
            context = context + self.position[context_cells]
        elif self.fixed is not None:
            here, there = self.fixed[cells], self.fixed[context_cells]
        for block in self.blocks:
            features = block(features, context, here, there)
        return features


class FusionBlock(nn.Module):
    """z' = z + Proj(Attention(LN(z), LN(f))), then z' + MLP(LN(z')): pre-norm, with a residual, as
    in the authors' code (fusion_blk_img); LayerNorm eps 1e-5, no dropout."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.query_norm, self.context_norm, self.out_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.attention = CrossAttention(dim, dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m d"],
        here: Float[Tensor, "b n d"] | None = None,
        there: Float[Tensor, "b m d"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        queries, values = self.query_norm(x), self.context_norm(context)
        keys = values
        if here is not None:
            queries, keys = queries + here, keys + there
        x = x + self.attention(queries, keys, values)
        return x + self.mlp(self.out_norm(x))
