"""Selective feature fusion: what is seen nearby or from afar, chosen cell by cell.

The decoder of "Global-Local Path Networks for Monocular Depth Estimation with Vertical CutDepth"
(Kim et al., 2022, arXiv:2201.07436), section 3.3. MIM-Depth-Estimation, and so SG-MIM, put a few
deconvolutions in its place (deconv.py). A ViT is seen through a neck (neck.py).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.tasks.heads.base import Features, Head
from sgmim.tasks.heads.convolutions import last_layer, resize
from sgmim.tasks.heads.neck import Kind, Neck


class SelectiveFusionHead(Head):
    """GLPDepth's decoder, on the stages of a Swin or a pyramid made of a ViT's blocks."""

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        width: int = 64,
        neck: Kind = "blocks",
        blocks: tuple[int, ...] | None = None,
    ):
        """
        Args:
            encoder: whose maps it reads.
            channels: numbers a pixel.
            width: channels of every level, an even number.
            neck: what a ViT's pyramid is made of: "blocks", four, or "simple", the last alone.
            blocks: of a ViT, counted from 0; by default 2, 5, 8 and 11 of twelve.

        Raises:
            ConfigurationError: blocks or a neck that the encoder cannot have.
        """
        super().__init__(encoder, channels)
        self.neck = Neck(encoder, neck, blocks)
        self.levels = self.neck.levels
        finest, *coarser = self.neck.widths
        # the authors' encoder has as many channels at its finest as the decoder, and no layer there
        first = nn.Identity() if finest == width else nn.Conv2d(finest, width, 1)
        self.narrow = nn.ModuleList([first, *(nn.Conv2d(dim, width, 1) for dim in coarser)])
        self.fuse = nn.ModuleList([SelectiveFusion(width) for _ in coarser])
        self.value = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), last_layer(width, channels, 3)
        )

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b _ H W"]:
        """See `Head`."""
        return self.value(self.decode(self.neck(features), size))

    def decode(self, maps: Features, size: tuple[int, int]) -> Float[Tensor, "b width H W"]:
        """One map of them all, as fine as the image."""
        *finer, fused = [narrow(map) for narrow, map in zip(self.narrow, maps, strict=True)]
        for fuse, map in zip(reversed(self.fuse), reversed(finer), strict=True):
            fused = fuse(map, resize(fused, map.shape[2:]))
        halfway = [max(now, then // 2) for now, then in zip(fused.shape[2:], size, strict=True)]
        return resize(resize(fused, halfway), size)


class SelectiveFusion(nn.Module):
    """Of two maps the sum, each weighed by what both show around a cell."""

    def __init__(self, width: int):
        super().__init__()
        self.weigh = nn.Sequential(
            *narrowing(2 * width, width),
            *narrowing(width, width // 2),
            nn.Conv2d(width // 2, 2, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(
        self, near: Float[Tensor, "b width h w"], far: Float[Tensor, "b width h w"]
    ) -> Float[Tensor, "b width h w"]:
        of_near, of_far = self.weigh(torch.cat([near, far], dim=1)).split(1, dim=1)
        return near * of_near + far * of_far


def narrowing(dim: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(dim, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
