"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., 2022).

https://arxiv.org/abs/2111.09886

    image, hidden --> Encoder --> PixelHead --> image, where hidden
"""

from sgmim.encoders.base import Encoder
from sgmim.layers import PixelHead, mask_token, take, tokens
from sgmim.losses import painted_l1
from sgmim.masking import RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Pictures


class SimMIM(Objective):
    """Paint the hidden patches with a single linear layer.

    Args:
        encoder: any.
        mask_ratio: share of the image that is hidden.
        mask_size: pixels a side of the squares that are hidden.
    """

    needs = ("image",)

    def __init__(self, encoder: Encoder, *, mask_ratio: float = 0.6, mask_size: int = 32):
        super().__init__()
        self.encoder = encoder
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.token = mask_token(encoder.patch_dim)
        self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)

    def forward(self, batch: Batch) -> Losses:
        image, hidden = batch["image"], self.mask(keys(batch))
        features = tokens(self.encoder(image, hidden, self.token))
        cells = self.mask.part(hidden).cells
        return {"image": painted_l1(self.head, take(features, cells), only(image, hidden), cells)}

    def pictures(self, batch: Batch) -> Pictures:
        image, hidden = batch["image"], self.mask(keys(batch))
        painted = self.head.paint(self.encoder(image, hidden, self.token)).float()
        return {
            "image": image,
            "image, hidden": only(image, ~hidden),
            "image, painted": only(image, ~hidden).where(~only(image, ~hidden).isnan(), painted),
        }
