"""ViTs that add no positions: in attention, queries and keys are turned by where their tokens are.

RoFormer (Su et al., 2021, arXiv:2104.09864) in two dimensions, as in CroCo v2 (Weinzaepfel et al.,
2023, arXiv:2211.10408, section 3.2): one half of a head's channels turns with the row, the other
with the column, at rates 100^(-i / quarter). What two tokens have to do with each other then
depends on how far apart they are, at any size of an image.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from timm.layers import Attention
from timm.models import register_model
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from sgmim.encoders.named import SIZES, init_mae
from sgmim.errors import ConfigurationError
from sgmim.layers import CrossAttention

# Cosine and sine of the angles that tokens are turned by, for rows and for columns; of the same
# tokens in every image, or of others in each.
Turns = Float[Tensor, "... 2 2 _"]


def turns(grid: tuple[int, int], head_dim: int, *, base: float = 100.0, prefix: int = 0) -> Turns:
    """Those of a grid row by row, after `prefix` tokens without a place, which are not turned.

    Raises:
        ConfigurationError: a head's channels are no two halves of pairs.
    """
    if head_dim % 4:
        raise ConfigurationError(
            f"rotary positions turn channels in pairs, half of them for rows: a head of {head_dim} "
            f"channels is to have {4 * max(1, round(head_dim / 4))}; choose another number of heads"
        )
    quarter = head_dim // 4
    rates = base ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in grid)
    places = torch.cartesian_prod(rows, columns)  # (n, 2)
    angles = F.pad(places, (0, 0, prefix, 0))[..., None] * rates  # (n, 2, quarter)
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def turned(x: Float[Tensor, "b heads n d"], by: Turns) -> Float[Tensor, "b heads n d"]:
    """Queries or keys turned by the places of their tokens."""
    by = by[:, None] if by.ndim == 5 else by  # the same for all heads
    cosine, sine = by.unbind(-3)
    one, other = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    pairs = one * cosine - other * sine, other * cosine + one * sine
    return torch.stack(pairs, dim=-2).flatten(-3).to(x.dtype)


class RotaryAttention(Attention):
    """timm's attention of tokens to each other, turned by their places where these are given."""

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "b n d"], by: Turns | None = None
    ) -> Float[Tensor, "b n d"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if by is not None:
            q, k = turned(q, by), turned(k, by)
        dropout = self.attn_drop.p if self.training else 0.0
        if self.fused_attn:
            found = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        else:
            scores = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
            found = self.attn_drop(scores) @ v
        return self.proj_drop(self.proj(self.norm(found.transpose(1, 2).flatten(2))))


class RotaryCrossAttention(CrossAttention):
    """Attention of the tokens of one view to those of another, of one grid; both turned by their
    places where these are given."""

    def __init__(self, dim: int, heads: int):
        super().__init__(dim, dim, heads, bias=True)

    def forward(
        self, x: Float[Tensor, "b n d"], other: Float[Tensor, "b n d"], by: Turns | None = None
    ) -> Float[Tensor, "b n d"]:
        if by is None:
            return super().forward(x, other, other)
        q, k, v = self.split(self.q(x)), self.split(self.k(other)), self.split(self.v(other))
        return self.attend(turned(q, by), turned(k, by), v)


class RotaryBlock(Block):
    """timm's block, that tells its attention where tokens are."""

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "b n d"], by: Turns | None = None
    ) -> Float[Tensor, "b n d"]:
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), by)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class RotaryViT(VisionTransformer):
    """timm's ViT with such blocks. It has no table of positions, so its weights are those of any
    image size.

    Args:
        rotary_base: of the rates of the angles; 100 in CroCo v2.
        options: of timm's VisionTransformer.
    """

    turns: Tensor

    def __init__(self, *, rotary_base: float = 100.0, **options: Any):
        fixed = {"block_fn": RotaryBlock, "attn_layer": RotaryAttention, "pos_embed": "none"}
        super().__init__(**{**options, **fixed})
        head_dim = options["embed_dim"] // options["num_heads"]
        grid: tuple[int, int] = self.patch_embed.grid_size
        table = turns(grid, head_dim, base=rotary_base, prefix=self.num_prefix_tokens)
        self.register_buffer("turns", table, persistent=False)

    def turns_of(self, rows: Int[Tensor, "b k"] | None) -> Turns:
        """What its blocks are told of tokens that stand there among all; of all if not told."""
        return self.turns if rows is None else self.turns[rows]

    def forward_features(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """As timm's, without masks of attention."""
        tokens = self.norm_pre(self._pos_embed(self.patch_embed(x)))
        for block in self.blocks:
            tokens = block(tokens, self.turns)
        return self.norm(tokens)


BASE = {"embed_dim": 768, "depth": 12, "num_heads": 12}
ROTARY = {f"rotary_vit_{size}_patch16": BASE | shape for size, shape in SIZES.items()}


def _rotary_vit(name: str, shape: dict[str, int]) -> Callable[..., RotaryViT]:
    def build(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **options: Any,
    ) -> RotaryViT:
        if pretrained:
            raise ConfigurationError(f"timm has no weights of {name}: give a checkpoint as --init")
        own = {"patch_size": 16, "class_token": False, "global_pool": ""}
        vit = RotaryViT(**{**own, **shape, **options})
        init_mae(vit)
        return vit

    build.__name__ = name
    return build


for _name, _shape in ROTARY.items():  # timm is to rebuild them from name and options, as others
    register_model(_rotary_vit(_name, _shape))
