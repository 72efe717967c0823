"""A few deconvolutions from the last feature map to a value for every pixel.

"Revealing the Dark Secrets of Masked Image Modeling" (Xie et al., 2022, arXiv:2205.13543) puts it
on Swin in place of the decoder of GLPDepth (Kim et al., 2022, arXiv:2201.07436); SG-MIM's depth
scores are made with it.
"""

from itertools import pairwise
from math import log2

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.tasks.heads.base import Features, Head


class DeconvHead(Head):
    """Deconvolutions, as MIM-Depth-Estimation's: the head of SG-MIM's scores on KITTI.

    Deconvolutions halve the stride until it is 4: three for Swin's 32, two for the 16 of a ViT.
    """

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        filters: int = 32,  # channels of every deconvolution
        width: int | None = None,  # channels of the convolutions; see default_width
        kernel: int = 2,  # cells a side of a deconvolution
    ):
        super().__init__(encoder, channels)
        count = max(0, round(log2(encoder.stride / 4)))
        dims = [encoder.dim] + count * [filters]
        width = width or default_width(encoder)
        stages = [doubling(dim, to, kernel) for dim, to in pairwise(dims)]
        self.deconvolve = nn.Sequential(*(layer for stage in stages for layer in stage))
        self.widen = nn.Sequential(
            nn.Conv2d(dims[-1], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.value = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.apply(initialize)

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b _ H W"]:
        """See `Head`."""
        return self.value(self.decode(features[-1], size))

    def decode(
        self, features: Float[Tensor, "b d h w"], size: tuple[int, int]
    ) -> Float[Tensor, "b width H W"]:
        """The feature map, as fine as the image."""
        height, width = size
        x = self.widen(self.deconvolve(features))  # (b, width, H / 4, W / 4)
        x = F.interpolate(x, (height // 2, width // 2), mode="bilinear")
        return F.interpolate(x, (height, width), mode="bilinear")


def doubling(dim: int, filters: int, kernel: int) -> tuple[nn.Module, ...]:
    """A deconvolution to exactly twice the height and width, whatever its kernel."""
    deconvolution = nn.ConvTranspose2d(
        dim,
        filters,
        kernel,
        stride=2,
        padding=(kernel - 1) // 2,
        output_padding=kernel % 2,
        bias=False,
    )
    return deconvolution, nn.BatchNorm2d(filters), nn.ReLU()


def default_width(encoder: Encoder) -> int:
    """As wide as the patches of a hierarchical encoder (128 for Swin-B), 128 for a plain one."""
    return encoder.patch_dim if encoder.patch_dim < encoder.dim else 128


def initialize(module: nn.Module) -> None:
    """So small that every pixel starts at a value of 0, the middle of the range after a sigmoid."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.001)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
