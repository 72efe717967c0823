"""Maps from fine to coarse, each half as fine as the one before, from any encoder.

A Swin has them: its stages. A ViT has one resolution, of which deconvolutions make the others: from
four blocks, as BEiT (Bao et al., 2021, arXiv:2106.08254) and MAE do for UperNet, mmsegmentation's
Feature2Pyramid; or all from the last, the simple pyramid of ViTDet (Li et al., 2022,
arXiv:2203.16527, section 3).
"""

from typing import Literal

from torch import nn

from sgmim.encoders.base import QUARTERS, Encoder
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.base import Features
from sgmim.tasks.heads.convolutions import BatchNorm, ChannelNorm

Kind = Literal["blocks", "simple"]

SIMPLE_WIDTH = 256  # channels of the maps of ViTDet


class Neck(nn.Module):
    """Maps of the strides of a decoder: 4, 8, 16, 32 for patches of 16 pixels or a Swin of 4."""

    levels: tuple[int, ...]  # of the encoder's pyramid, which it is given
    widths: tuple[int, ...]  # channels of the maps it makes
    strides: tuple[float, ...]  # pixels a side of one cell of each

    def __init__(
        self,
        encoder: Encoder,
        kind: Kind = "blocks",
        blocks: tuple[int, ...] | None = None,
        *,
        of_twelve: tuple[int, ...] = QUARTERS,
    ):
        """`blocks`, counted from 0, are those a plain encoder is seen at, four or for "simple" one;
        by default those as deep as these `of_twelve`, or the last.

        Raises:
            ConfigurationError: there are no such blocks, too many or too few, or a hierarchical
                encoder is asked for what only a plain one can have.
        """
        super().__init__()
        if not encoder.is_plain and kind == "simple":
            raise ConfigurationError(
                f"a neck 'simple' is for plain encoders, such as a ViT, and {encoder.name} has "
                "maps of all strides: leave the option 'neck' out"
            )
        usual = of_twelve if kind == "blocks" else (12,)
        self.levels = encoder.levels(blocks, of_twelve=usual)
        if encoder.is_plain and len(self.levels) != len(usual):
            wanted = "four blocks" if kind == "blocks" else "one block"
            told = ", ".join(map(str, self.levels))
            raise ConfigurationError(f"a neck {kind!r} is made of {wanted}, not of {told}")
        if not encoder.is_plain:
            self.widths, self.strides = encoder.widths, encoder.strides
            self.scale = norms(self.widths)
            return
        self.strides = tuple(encoder.stride * scale for scale in (0.25, 0.5, 1, 2))
        self.widths = (encoder.dim if kind == "blocks" else SIMPLE_WIDTH,) * 4
        self.scale = (pyramid if kind == "blocks" else simple_pyramid)(encoder.dim)

    def forward(self, features: Features) -> Features:
        maps = features * len(self.scale) if len(features) == 1 else features
        return [scale(map) for scale, map in zip(self.scale, maps, strict=True)]


def norms(widths: tuple[int, ...]) -> nn.ModuleList:
    """A norm for every stage but the last, which comes through the encoder's own."""
    return nn.ModuleList([*map(ChannelNorm, widths[:-1]), nn.Identity()])


def pyramid(dim: int) -> nn.ModuleList:
    """Four times, twice, once and half as fine; mmsegmentation's Feature2Pyramid."""
    fourfold = nn.Sequential(doubling(dim, dim), BatchNorm(dim), nn.GELU(), doubling(dim, dim))
    return nn.ModuleList([fourfold, doubling(dim, dim), nn.Identity(), halving()])


def simple_pyramid(dim: int) -> nn.ModuleList:
    """The same from one map; detectron2's SimpleFeaturePyramid."""
    half, quarter = dim // 2, dim // 4
    fourfold = (doubling(dim, half), ChannelNorm(half, eps=1e-6), nn.GELU())
    scales = [
        nn.Sequential(*fourfold, doubling(half, quarter), *simple_output(quarter)),
        nn.Sequential(doubling(dim, half), *simple_output(half)),
        nn.Sequential(*simple_output(dim)),
        nn.Sequential(halving(), *simple_output(dim)),
    ]
    return nn.ModuleList(scales)


def simple_output(dim: int) -> tuple[nn.Module, ...]:
    width = SIMPLE_WIDTH
    return (
        nn.Conv2d(dim, width, 1, bias=False),
        ChannelNorm(width, eps=1e-6),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        ChannelNorm(width, eps=1e-6),
    )


def doubling(dim: int, width: int) -> nn.Module:
    return nn.ConvTranspose2d(dim, width, 2, stride=2)


def halving() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)  # an odd grid keeps its last row and column
