"""What stands between one encoder and maps of several kinds: a way in and a way out for each.

"MultiMAE: Multi-modal Multi-task Masked Autoencoders" (Bachmann et al., 2022), sections 3.1, 3.3.
"""

import torch
from jaxtyping import Float, Int
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.decoder import NORM, begin
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import CrossAttention, PixelHead, mask_token, sincos


class InputAdapter(nn.Module):
    """Patches of a map as the encoder takes them; what is unknown (NaN) is 0.

    Args:
        encoder: that is given them.
        channels: of the map.
        pixels: of the image, a side of one cell of the map.
        classes: of a map of their ids, how many; each is embedded by itself.
        class_dim: numbers for a class.
    """

    def __init__(
        self,
        encoder: Encoder,
        channels: int,
        *,
        pixels: int = 1,
        classes: int = 0,
        class_dim: int = 64,
    ):
        super().__init__()
        self.embedding = nn.Embedding(classes, class_dim) if classes else None
        if self.embedding is not None:
            nn.init.trunc_normal_(self.embedding.weight, std=0.02)
            channels = class_dim
        side = encoder.patch // pixels
        self.project = nn.Conv2d(channels, encoder.patch_dim, side, side)
        nn.init.xavier_uniform_(self.project.weight.flatten(1))

    def forward(self, values: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b h w d"]:
        known = values.nan_to_num()
        if self.embedding is not None:
            known = self.embedding(known.long()[:, 0]).movedim(-1, 1) * values.isfinite()
        return self.project(known).movedim(1, -1)

    def no_decay(self) -> set[str]:
        """Embeddings are tokens, which weight decay spares."""
        return {"embedding.weight"} if self.embedding is not None else set()


class OutputAdapter(nn.Module):
    """One map, painted from what the encoder made of the visible patches of all of them.

    Every patch of the map asks the visible ones of all maps once, with no residual around it, so
    that all it knows comes from there; self-attention then settles the patches among themselves.
    That is why all are painted, even where only some are asked for.

    Args:
        encoder: whose patches it is given.
        own: which of the maps it paints, counted from 0.
        maps: how many there are.
        channels: to paint.
        pixels: of the image, a side of one cell of the map.
        depth: blocks of self-attention.
        width: channels of a token in here.
        heads: of all attention.

    Raises:
        ConfigurationError: heads that do not divide the channels of a token.
    """

    positions: Float[Tensor, "n d"]

    def __init__(
        self,
        encoder: Encoder,
        *,
        own: int,
        maps: int,
        channels: int,
        pixels: int = 1,
        depth: int = 2,
        width: int = 256,
        heads: int = 8,
    ):
        super().__init__()
        if width < 1 or heads < 1 or depth < 0 or width % heads:
            raise ConfigurationError(
                f"an output adapter of {depth} blocks, {width} channels and {heads} heads is none: "
                "channels and heads are 1 or more, and the heads divide the channels"
            )
        self.own = own
        self.project = nn.Linear(encoder.dim, width)
        self.token = mask_token(width)
        self.origin = nn.Parameter(nn.init.trunc_normal_(torch.empty(maps, width), std=0.02))
        table = sincos(encoder.grid, width, rows_first=True)
        self.register_buffer("positions", table, persistent=False)
        self.query_norm, self.context_norm, self.out_norm = (NORM(width) for _ in range(3))
        self.attention = CrossAttention(width, width, heads, bias=True)
        self.mlp = Mlp(width, 4 * width)
        self.blocks = nn.Sequential(
            *(Block(width, heads, qkv_bias=True, norm_layer=NORM) for _ in range(depth))
        )
        self.head = PixelHead(width, encoder.patch // pixels, channels)
        self.apply(begin)
        for name, module in self.blocks.named_modules():
            if name.endswith("qkv") and isinstance(module, nn.Linear):
                for part in module.weight.chunk(3):  # queries, keys, values: a layer each
                    nn.init.xavier_uniform_(part)

    def forward(
        self,
        seen: Float[Tensor, "b k d"],
        overall: Float[Tensor, "b m d"],
        rows: Int[Tensor, "b k"],
    ) -> Float[Tensor, "b n q"]:
        """Every patch of the map, painted.

        Args:
            seen: what the encoder made of the visible patches.
            overall: and of tokens that stand for no place, as its class token.
            rows: the visible patches' places among those of all maps, one map after the other.
        """
        known = self.project(seen) + self._places(rows)
        context = self.context_norm(torch.cat([known, self.project(overall)], dim=1))
        tokens = self.attention(self.query_norm(self._queries(known, rows)), context, context)
        tokens = tokens + self.mlp(self.out_norm(tokens))
        return self.head(self.blocks(tokens))

    def _places(self, rows: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """Where some patches lie, and in which map. A product rather than a look-up, whose gradient
        a GPU would have to gather from all that share a map."""
        cells, maps = len(self.positions), torch.arange(len(self.origin), device=rows.device)
        of_map = (rows // cells)[..., None] == maps
        return self.positions[rows % cells] + of_map.to(self.origin.dtype) @ self.origin

    def _queries(
        self, known: Float[Tensor, "b k d"], rows: Int[Tensor, "b k"]
    ) -> Float[Tensor, "b n d"]:
        """The map's own patches: what is known of those that are visible, the others' places."""
        cells = len(self.positions)
        blank = (self.token + self.positions + self.origin[self.own]).to(known.dtype)
        blank = F.pad(blank, (0, 0, 0, 1)).expand(len(known), -1, -1)  # one more, for other maps
        places = (rows - self.own * cells).where(rows // cells == self.own, cells)
        places = places[..., None].expand(-1, -1, known.shape[-1])
        return blank.scatter(1, places, known)[:, :cells]

    def no_decay(self) -> set[str]:
        """Names of the tokens among the parameters: weight decay spares them."""
        return {"token", "origin"}
