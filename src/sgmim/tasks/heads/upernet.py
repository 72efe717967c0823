"""UperNet: context pooled at several scales on top, a feature pyramid below, all levels fused.

"Unified Perceptual Parsing for Scene Understanding" (Xiao et al., 2018, arXiv:1807.10221), as
mmsegmentation's UPerHead and FCNHead, with which Swin, BEiT and MAE report ADE20K. A ViT is seen
through a neck (neck.py).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.base import Features, Head
from sgmim.tasks.heads.convolutions import convolution, last_layer, resize
from sgmim.tasks.heads.neck import Kind, Neck

# Blocks 3, 5, 7 and 11 of ViT-B, 7, 11, 15 and 23 of ViT-L: the configurations of BEiT and MAE
OF_TWELVE = (4, 6, 8, 12)


class UperNetHead(Head):
    """UperNet, on the stages of a Swin or a pyramid made of a ViT's blocks."""

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        width: int = 512,
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.1,
        auxiliary: float = 0.4,
        auxiliary_width: int = 256,
        neck: Kind = "blocks",
        blocks: tuple[int, ...] | None = None,
    ):
        """
        Args:
            encoder: whose maps it reads.
            channels: numbers a pixel.
            width: channels of every level.
            pool_scales: cells a side that the coarsest map is pooled to, for context.
            dropout: share of the channels that training leaves out before the last layer.
            auxiliary: weight of the loss of a second output, from stride 16; 0 for none.
            auxiliary_width: channels of that output's convolution.
            neck: what a ViT's pyramid is made of: "blocks", four, or "simple", the last alone.
            blocks: of a ViT, counted from 0; by default 3, 5, 7 and 11 of twelve.

        Raises:
            ConfigurationError: blocks or a neck that the encoder cannot have, or a pool without
                cells.
        """
        super().__init__(encoder, channels)
        if any(scale < 1 for scale in pool_scales):
            raise ConfigurationError(f"pool_scales are 1 cell a side or more, not {pool_scales}")
        self.neck = Neck(encoder, neck, blocks, of_twelve=OF_TWELVE)
        self.levels = self.neck.levels
        *finer, top = self.neck.widths
        self.context = Context(top, width, pool_scales)
        self.lateral = nn.ModuleList([convolution(dim, width, 1) for dim in finer])
        self.smooth = nn.ModuleList([convolution(width, width, 3) for _ in finer])
        self.fuse = convolution((len(finer) + 1) * width, width, 3)
        self.value = nn.Sequential(nn.Dropout2d(dropout), last_layer(width, channels))
        self.auxiliary_weight = auxiliary
        if auxiliary:
            self.auxiliary = nn.Sequential(
                convolution(finer[-1], auxiliary_width, 3),
                nn.Dropout2d(dropout),
                last_layer(auxiliary_width, channels),
            )

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b _ H W"]:
        """See `Head`."""
        return resize(self.decode(self.neck(features)), size)

    def trained(
        self, features: Features, size: tuple[int, int]
    ) -> list[tuple[float, Float[Tensor, "b _ H W"]]]:
        """See `Head`."""
        maps = self.neck(features)
        outputs = [(1.0, resize(self.decode(maps), size))]
        if self.auxiliary_weight:
            outputs.append((self.auxiliary_weight, resize(self.auxiliary(maps[-2]), size)))
        return outputs

    def decode(self, maps: Features) -> Float[Tensor, "b channels h w"]:
        """The numbers for every cell of the finest map."""
        *finer, top = maps
        levels = [self.context(top)]
        for lateral, map in zip(reversed(self.lateral), reversed(finer), strict=True):
            levels.insert(0, lateral(map) + resize(levels[0], map.shape[2:]))
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=False)]
        finest = maps[0].shape[2:]
        fused = [resize(level, finest) for level in [*smoothed, levels[-1]]]
        return self.value(self.fuse(torch.cat(fused, dim=1)))


class Context(nn.Module):
    """The pyramid pooling module of PSPNet (Zhao et al., 2017, arXiv:1612.01105): every cell beside
    means over ever smaller parts of the image."""

    def __init__(self, dim: int, width: int, scales: tuple[int, ...]):
        super().__init__()
        self.pool = nn.ModuleList(
            [
                nn.Sequential(nn.AdaptiveAvgPool2d(scale), convolution(dim, width, 1))
                for scale in scales
            ]
        )
        self.fuse = convolution(dim + len(scales) * width, width, 3)

    def forward(self, top: Float[Tensor, "b dim h w"]) -> Float[Tensor, "b width h w"]:
        pooled = [resize(pool(top), top.shape[2:]) for pool in self.pool]
        return self.fuse(torch.cat([top, *pooled], dim=1))
