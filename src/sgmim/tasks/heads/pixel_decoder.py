"""Maps of one width, each told what the coarser ones know: what bins and queries look at.

Either a feature pyramid (Lin et al., 2017, arXiv:1612.03144) or, before its last step, deformable
attention among the coarser maps, as in Mask2Former (Cheng et al., 2022, arXiv:2112.01527), from
which BinsFormer and iDisc have it.
"""

from math import lcm
from typing import Literal

from torch import nn

from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.base import Features
from sgmim.tasks.heads.convolutions import resize
from sgmim.tasks.heads.deformable import DeformableEncoder

Mixing = Literal["fpn", "msdeform"]


class PixelDecoder(nn.Module):
    """Maps of the same strides as those it is given, all of one width."""

    def __init__(
        self,
        widths: tuple[int, ...],
        width: int = 256,
        mixing: Mixing = "msdeform",
        *,
        layers: int = 6,
        heads: int = 8,
        points: int = 8,
        dropout: float = 0.1,
    ):
        """
        Args:
            widths: channels of the maps it is given, the finest first.
            width: channels of those it makes.
            mixing: how a map is told of the others.
            layers: of deformable attention.
            heads: of it.
            points: places that a head looks at on each map.
            dropout: share of the numbers that its training leaves out.

        Raises:
            ConfigurationError: the width cannot be shared out.
        """
        super().__init__()
        if width % (least := lcm(4, heads)) or width <= 0:
            raise ConfigurationError(
                f"a width of {width} cannot be shared by {heads} heads and by the sines and "
                f"cosines of rows and columns: it is a multiple of {least}"
            )
        self.enter = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(dim, width, 1), nn.GroupNorm(1, width)) for dim in widths]
        )
        self.attend: nn.Module | None = None
        steps = len(widths) - 1
        if mixing == "msdeform":
            self.attend = DeformableEncoder(
                width, layers, levels=steps, heads=heads, points=points, dropout=dropout
            )
            steps = 1  # all but the finest know of each other
        self.smooth = nn.ModuleList([smoothing(width) for _ in range(steps)])

    def forward(self, features: Features) -> Features:
        """The maps, the finest first."""
        maps = [enter(map) for enter, map in zip(self.enter, features, strict=True)]
        if self.attend is not None:
            maps[1:] = self.attend(maps[1:])
        for level in reversed(range(len(self.smooth))):
            coarser = resize(maps[level + 1], maps[level].shape[2:])
            maps[level] = self.smooth[level](maps[level] + coarser)
        return maps


def smoothing(width: int) -> nn.Module:
    convolve = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(convolve, nn.GroupNorm(1, width), nn.LeakyReLU())
