"""SG-MIM's feature fusion: image features ask the features of a map, or of several (paper,
"Relational Guidance Framework")."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import CrossAttention, sincos

# Features of a map (b, m, d), and their places: the cells that they stand for, equally many each,
# those of a feature one after the other.
Context = tuple[Tensor, Tensor]


class Fusion(nn.Module):
    """Guided features of some cells of an image, from the features of some cells of its maps.

    Args:
        encoder: whose features are guided.
        blocks: cross-attention blocks, one after the other.
        heads: of each.
        positions: "sincos", fixed and given to queries and keys alone; "learned", one table added
            to the features on both sides (the authors' later code); "none" (their first), where the
            attention cannot tell one cell of the map from another.
        maps: of several, each one's features are told from the others' by an embedding.

    Raises:
        ConfigurationError: no blocks or heads, or heads that do not divide the features.
    """

    position: nn.Parameter | None  # learned
    modality: nn.Parameter | None  # one a map
    fixed: Float[Tensor, "n d"] | None

    def __init__(
        self, encoder: Encoder, *, blocks: int = 1, heads: int = 8, positions: str, maps: int = 1
    ):
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
        self.modality = None  # a map by itself needs none
        if maps > 1:
            table = nn.init.trunc_normal_(torch.empty(maps, encoder.dim), std=0.02)
            self.modality = nn.Parameter(table)

    def forward(
        self,
        features: Float[Tensor, "b n d"],
        cells: Int[Tensor, "b n"],
        contexts: Sequence[Context],
    ) -> Float[Tensor, "b n d"]:
        """`cells` are the places of the features, row by row; the maps are in their order."""
        found = [context for context, _ in contexts]
        if self.modality is not None:
            found = [context + of_it for context, of_it in zip(found, self.modality, strict=True)]
        context = torch.cat(found, dim=1)
        here: Tensor | None = None
        there: Tensor | None = None
        table = self.fixed if self.position is None else self.position
        if table is not None:
            here = table[cells]
            there = torch.cat([_middle(table[places], n.shape[1]) for n, places in contexts], dim=1)
        if self.position is not None and here is not None and there is not None:
            features, context, here, there = features + here, context + there, None, None
        for block in self.blocks:
            features = block(features, context, here, there)
        return features

    def no_decay(self) -> set[str]:
        """Names of positions and embeddings among the parameters: weight decay spares them."""
        return {name for name, _ in self.named_parameters() if name in ("position", "modality")}


def _middle(positions: Float[Tensor, "b n d"], features: int) -> Float[Tensor, "b m d"]:
    """The position of each of so many features: the mean of its cells'."""
    if positions.shape[1] == features:
        return positions
    return positions.unflatten(1, (features, -1)).mean(dim=2)


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
