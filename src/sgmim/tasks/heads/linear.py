"""A linear readout: what a feature map says of every cell without any further computing.

As DINOv2 reads depth from frozen features (Oquab et al., 2023, arXiv:2304.07193, section 7.4): each
feature scaled by its statistics, one linear layer, the values enlarged bilinearly.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.tasks.heads.base import Features, Head
from sgmim.tasks.heads.deconv import initialize


class LinearHead(Head):
    """A linear readout: numbers for every cell, and between cells what lies between."""

    def __init__(self, encoder: Encoder, channels: int = 1):
        super().__init__(encoder, channels)
        self.norm = nn.BatchNorm2d(encoder.dim, affine=False)
        self.value = nn.Conv2d(encoder.dim, channels, 1)
        initialize(self.value)

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b _ H W"]:
        """See `Head`."""
        return F.interpolate(self.value(self.norm(features[-1])), size, mode="bilinear")
