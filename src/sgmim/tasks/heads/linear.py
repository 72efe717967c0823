"""A linear readout: what a feature map says of every cell without any further computing.

As DINOv2 reads depth from frozen features (Oquab et al., 2023, arXiv:2304.07193, section 7.4): each
feature scaled by its statistics, one linear layer, the values enlarged bilinearly.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.tasks.heads.deconv import initialize


class LinearHead(nn.Module):
    """One unbounded value a cell, and between cells what lies between."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.norm = nn.BatchNorm2d(encoder.dim, affine=False)
        self.value = nn.Conv2d(encoder.dim, 1, 1)
        initialize(self.value)

    def forward(
        self, features: Float[Tensor, "b d h w"], size: tuple[int, int]
    ) -> Float[Tensor, "b 1 H W"]:
        """The values for an image of `size` (height, width) pixels."""
        return F.interpolate(self.value(self.norm(features)), size, mode="bilinear")
