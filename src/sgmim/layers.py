"""Blocks that more than one method is built of."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F


def mask_token(dim: int) -> nn.Parameter:
    """What stands in for a hidden patch."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02))


def take(tokens: Float[Tensor, "b n d"], cells: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
    """The tokens of some cells, named by their place row by row."""
    return tokens.gather(1, cells[..., None].expand(-1, -1, tokens.shape[-1]))


def tokens(features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n d"]:
    """A feature map as a list of its cells, row by row."""
    return features.flatten(2).transpose(1, 2)


def spread(
    found: Float[Tensor, "b m d"], cells: Int[Tensor, "b m"], grid: tuple[int, int]
) -> Float[Tensor, "b d h w"]:
    """The feature map of some cells, 0 elsewhere."""
    rows, columns = grid
    everywhere = found.new_zeros(len(found), rows * columns, found.shape[-1])
    everywhere = everywhere.scatter(1, cells[..., None].expand_as(found), found)
    return everywhere.transpose(1, 2).unflatten(2, grid)


def patches(image: Float[Tensor, "b c H W"], size: int) -> Float[Tensor, "b n d"]:
    """Cut an image into squares of `size` pixels, row by row; inside one, channel, row, column."""
    return tokens(F.pixel_unshuffle(image, size))


def patches_of_pixels(image: Float[Tensor, "b c H W"], size: int) -> Float[Tensor, "b n d"]:
    """Such squares as MAE and CroCo lay them out: inside one, row, column, channel."""
    squares = image.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (b, c, h, size, w, size)
    return squares.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def image_of_pixels(
    squares: Float[Tensor, "b n d"], grid: tuple[int, int], size: int
) -> Float[Tensor, "b c H W"]:
    """The image that `patches_of_pixels` cut."""
    pixels = squares.unflatten(1, grid).unflatten(3, (size, size, -1))  # (b, h, w, size, size, c)
    return pixels.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


class PixelHead(nn.Linear):
    """Paint pixels from features: one linear layer, every cell unfolds into its square.

    The same map as SimMIM's 1 x 1 convolution and pixel shuffle, but it also paints some cells
    only.
    """

    def __init__(self, dim: int, stride: int, channels: int = 3):
        super().__init__(dim, channels * stride**2)
        self.stride = stride

    def paint(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """The whole picture."""
        cells = self(tokens(features))  # (b, n, c * stride * stride)
        return F.pixel_shuffle(cells.transpose(1, 2).unflatten(2, features.shape[2:]), self.stride)


def sincos(
    grid: tuple[int, int], dim: int, *, rows_first: bool = False
) -> Float[Tensor, "n {dim}"]:
    """Fixed sine and cosine positions of a grid, row by row: first half the column, then the row.

    MAE's convention (He et al., 2022), right for any grid; frequencies 10000^(-i / (dim / 4)). MoCo
    v3 and MultiMAE have the row first.
    """
    rates = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    rows, columns = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij"
    )
    places = (rows, columns) if rows_first else (columns, rows)
    angles = [place.flatten()[:, None] * rates for place in places]
    table = torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1)
    return F.pad(table, (0, dim - table.shape[1])).float()  # a dim that 4 does not divide


class CrossAttention(nn.Module):
    """Multi-head attention of some tokens to others; queries and keys may be given positions."""

    def __init__(self, dim: int, context_dim: int, heads: int = 8, *, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.fused_attn = True  # as in timm's attention
        self.q = nn.Linear(dim, dim, bias=bias)
        self.k = nn.Linear(context_dim, dim, bias=bias)
        self.v = nn.Linear(context_dim, dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Float[Tensor, "b n d"],
        keys: Float[Tensor, "b m c"],
        values: Float[Tensor, "b m c"],
    ) -> Float[Tensor, "b n d"]:
        q, k, v = (
            self.split(self.q(queries)),
            self.split(self.k(keys)),
            self.split(self.v(values)),
        )
        return self.attend(q, k, v)

    def attend(
        self,
        q: Float[Tensor, "b heads n k"],
        k: Float[Tensor, "b heads m k"],
        v: Float[Tensor, "b heads m k"],
    ) -> Float[Tensor, "b n d"]:
        """What queries find, given all three head by head."""
        if self.fused_attn:
            found = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            found = scores.softmax(dim=-1) @ v
        return self.proj(found.transpose(1, 2).flatten(2))

    def split(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n k"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def take_chance_away(model: nn.Module) -> None:
    """Let no dropout or stochastic depth, torch's and timm's, do anything any more."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0


def take_attention_apart(model: nn.Module) -> None:
    """Let all attention, timm's and ours, go by plain products rather than by torch's fused kernel.

    The same up to rounding, at the price of keeping the scores for the backward pass.
    """
    modules: Iterable[Any] = model.modules()
    for module in modules:
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
