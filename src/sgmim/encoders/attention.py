"""What attention does, block by block: where each token looks, and what it is before and after.

Fused attention never makes the probabilities. So they are made again from what the attention of a
block was given, while the encoder itself goes over an image (probabilities.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from timm.models.swin_transformer import window_partition
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.encoders.probabilities import LOGITS, probabilities
from sgmim.errors import ConfigurationError


@dataclass(frozen=True)
class Attention:
    """Of one block, for a batch of images. A Swin's tokens attend within `g` windows; those of a
    ViT are all in one. Among a window's `n` tokens, class and register tokens come first."""

    probabilities: Float[Tensor, "b g heads n n"]  # of the keys (last), for every query
    before: Float[Tensor, "b g n d"]  # what attention is given: after the norm, or SwinV2's before
    after: Float[Tensor, "b g n d"]  # what it gives, before it is scaled, normed or added
    cells: Int[Tensor, "g m"]  # the patches' places in the block's grid, row by row
    joined: Bool[Tensor, "g m m"]  # patches that may look at each other: a shift parts others
    grid: tuple[int, int]  # cells down and across
    stride: int  # pixels a side of a cell
    prefix: int  # class and register tokens

    @property
    def among_patches(self) -> Float[Tensor, "b g heads m m"]:
        """What patches give to patches: rows add up to 1 only where there are no other tokens."""
        return self.probabilities[..., self.prefix :, self.prefix :]

    def uniform(self) -> "Attention":
        """The same for one image and one head, whose patches look everywhere alike that they may:
        what numbers of attention are to be compared with."""
        alike = self.joined.float() / self.joined.sum(dim=-1, keepdim=True)
        tokens = self.before[:1, :, self.prefix :]
        return replace(
            self, probabilities=alike[None, :, None], before=tokens, after=tokens, prefix=0
        )

    def places(self) -> Float[Tensor, "g m 2"]:
        """How many pixels from the top and from the left the middles of the patches lie."""
        down, across = self.cells // self.grid[1], self.cells % self.grid[1]
        return self.stride * (torch.stack([down, across], dim=-1) + 0.5)

    def in_order(self, tokens: Float[Tensor, "b g n d"]) -> Float[Tensor, "b hw d"]:
        """Tokens of patches, taken out of their windows: row by row of the grid."""
        return tokens[:, :, self.prefix :].flatten(1, 2)[:, self.cells.flatten().argsort()]


class Call(NamedTuple):
    """What a module was given, and what it gave."""

    words: tuple[Any, ...]
    named: dict[str, Any]
    output: Tensor


@torch.no_grad()
def attention(encoder: Encoder, image: Float[Tensor, "b c H W"]) -> Iterator[Attention]:
    """That of all blocks, from the first to the last, each computed when it is asked for: no more
    than one is in memory.

    Raises:
        ConfigurationError: the blocks have attention of another kind, or windows that reach beyond
            their grid.
    """
    blocks: list[Any] = [_known(encoder, block) for block in encoder.blocks]
    walk, told = encoder.walk(image), _in_one if encoder.is_plain else _in_windows
    for block in blocks:
        with recorded(block.attn) as calls:
            tokens = next(walk)
        yield told(encoder, block, calls[-1], image, tokens)


def of_block(
    encoder: Encoder, image: Float[Tensor, "b c H W"], block: int | None = None
) -> Attention:
    """Of one block, counted from 1; of the last if it is not told.

    Raises:
        ConfigurationError: there is no such block.
    """
    count = len(encoder.blocks)
    place = count if block is None else block
    if not 1 <= place <= count:
        raise ConfigurationError(f"{encoder.name} has blocks 1 to {count}, no block {place}")
    return next(of for number, of in enumerate(attention(encoder, image), 1) if number == place)


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Call]]:
    """The calls of a module while this lasts."""
    calls: list[Call] = []

    def note(_: nn.Module, words: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        calls.append(Call(words, named, output))

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def _in_one(encoder: Encoder, block: Any, call: Call, image: Tensor, tokens: Tensor) -> Attention:
    """Of a plain encoder: all tokens look at all."""
    grid = image.shape[2] // encoder.stride, image.shape[3] // encoder.stride
    count = grid[0] * grid[1]
    return Attention(
        probabilities(block.attn, *call.words, **call.named)[:, None],
        call.words[0][:, None],
        call.output[:, None],
        cells=torch.arange(count, device=image.device)[None],
        joined=_all_joined(1, count, image.device),
        grid=grid,
        stride=encoder.stride,
        prefix=tokens.shape[1] - count,
    )


def _in_windows(
    encoder: Encoder, block: Any, call: Call, image: Tensor, tokens: Tensor
) -> Attention:
    """Of a hierarchical one: the windows lie on a grid that was shifted, around its edges."""
    images, *grid = tokens.shape[:3]
    places = torch.arange(grid[0] * grid[1], device=image.device).view(1, *grid, 1)
    down, across = block.shift_size
    cells = window_partition(places.roll((-down, -across), (1, 2)), block.window_size)
    cells, mask = cells.flatten(1), call.named.get("mask")
    split = (images, len(cells))
    return Attention(
        probabilities(block.attn, *call.words, **call.named).unflatten(0, split),
        call.words[0].unflatten(0, split),
        call.output.unflatten(0, split),
        cells=cells,
        joined=_all_joined(len(cells), cells.shape[1], image.device) if mask is None else mask == 0,
        grid=(grid[0], grid[1]),
        stride=image.shape[2] // grid[0],
        prefix=0,
    )


def _all_joined(windows: int, cells: int, device: torch.device) -> Bool[Tensor, "g m m"]:
    return torch.ones((), dtype=torch.bool, device=device).expand(windows, cells, cells)


def _known(encoder: Encoder, block: Any) -> nn.Module:
    kind = type(getattr(block, "attn", None))
    if kind not in LOGITS:
        found = type(block).__name__ if kind is type(None) else kind.__name__
        raise ConfigurationError(
            f"{encoder.name} attends by timm's {found}, whose probabilities are not known here; "
            "they are of a ViT, BEiT, rotary ViT, Swin or SwinV2 with one attention a block"
        )
    window, grid = getattr(block, "window_size", (1, 1)), getattr(block, "input_resolution", (1, 1))
    if any(cells % side for cells, side in zip(grid, window, strict=True)):
        raise ConfigurationError(
            f"{encoder.name} has windows of {window[0]} x {window[1]} on a grid of {grid[0]} x "
            f"{grid[1]}, which is filled up with nothing: leave its option always_partition out"
        )
    return block
