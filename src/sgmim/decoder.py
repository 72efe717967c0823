"""The light decoder of methods whose encoder sees the visible patches alone: "Masked Autoencoders
Are Scalable Vision Learners" (He et al., 2022), section 3.

    what the encoder made of visible patches --> narrower --+
                                                            +--> blocks --> features, where hidden
    a token for each hidden patch --------------------------+
                               each at its place, sine and cosine
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.plain import PlainEncoder
from sgmim.errors import ConfigurationError
from sgmim.layers import sincos

NORM: Any = partial(nn.LayerNorm, eps=1e-6)


class Decoder(nn.Module):
    """Features of the hidden patches, from tokens of the others: a small ViT, used in pre-training
    alone.

    Attention does not mind the order of tokens, so none are put back in theirs: hidden patches come
    last, and the last block finishes no others.

    Args:
        encoder: whose tokens it is given.
        depth: blocks.
        width: channels.
        heads: of each block.

    Raises:
        ConfigurationError: no blocks or heads, or heads that do not divide the channels.
    """

    places: Float[Tensor, "n d"]

    def __init__(self, encoder: PlainEncoder, *, depth: int, width: int, heads: int):
        super().__init__()
        check(depth, width, heads)
        self.enter = nn.Linear(encoder.dim, width)
        self.token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=NORM) for _ in range(depth)
        )
        self.norm = NORM(width)
        self.register_buffer("places", sincos(encoder.grid, width), persistent=False)
        self.apply(begin)

    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        seen: Int[Tensor, "b m"],
        hidden: Int[Tensor, "b n"],
    ) -> Float[Tensor, "b n w"]:
        """Features of hidden patches.

        Args:
            tokens: the encoder's, class and register tokens first.
            seen: the places of the others, row by row.
            hidden: the places of the patches that the encoder was not given.
        """
        x = self.placed(tokens, seen, hidden)
        *blocks, last = cast(Iterable[Any], self.blocks)
        for block in blocks:
            x = block(x)
        x = (x + last.attn(last.norm1(x)))[:, -hidden.shape[1] :]
        return self.norm(x + last.mlp(last.norm2(x)))

    def placed(
        self,
        tokens: Float[Tensor, "b k d"],
        seen: Int[Tensor, "b m"],
        hidden: Int[Tensor, "b n"],
    ) -> Float[Tensor, "b j w"]:
        """What the first block is given: class and register tokens, which have no place, seen
        patches and hidden ones, in this order."""
        known = self.enter(tokens)
        placeless = tokens.shape[1] - seen.shape[1]
        known = known + F.pad(self.places[seen], (0, 0, placeless, 0))
        return torch.cat([known, (self.token + self.places[hidden]).to(known.dtype)], dim=1)


def check(depth: int, width: int, heads: int) -> None:
    """Raise ConfigurationError where no decoder has so many blocks, channels and heads."""
    if min(depth, width, heads) < 1 or width % heads:
        raise ConfigurationError(
            f"a decoder of {depth} blocks, {width} channels and {heads} heads is none: each is 1 "
            "or more, and the heads divide the channels"
        )


def begin(module: nn.Module) -> None:
    """MAE's initial weights of linear layers: after Xavier, without bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(cast(Tensor, module.bias))
