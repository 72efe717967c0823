"""SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., 2022).

https://arxiv.org/abs/2111.09886

    image, hidden --> Encoder --> PixelHead --> image, where hidden

Weights of the pixels are none of the paper's: with them, anything that a map knows can say where
the image matters (see KAMIM for the first to do so).
"""

from sgmim.encoders.base import Encoder
from sgmim.layers import PixelHead, mask_token, take, tokens
from sgmim.losses import check_window, from_surroundings, in_surroundings, painted_l1
from sgmim.masking import RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Painting, Pictures
from sgmim.weighting import Weights


class SimMIM(Objective):
    """Paint the hidden patches with a single linear layer.

    Args:
        encoder: any.
        mask_ratio: share of the image that is hidden.
        mask_size: pixels a side of the squares that are hidden.
        target_window: 0 to paint the image as it is; or pixels a side of the surroundings by whose
            mean and deviation every pixel is given: 47 in SimMIM's SwinV2.
        weights: of the pixels, by a map; none as in the paper.

    Raises:
        ConfigurationError: squares that do not tile the image, or surroundings without a middle.
    """

    paints_from = ("image",)

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.6,
        mask_size: int = 32,
        target_window: int = 0,
        weights: Weights | None = None,
    ):
        super().__init__()
        check_window(target_window)
        self.weights, self.target_window = weights, target_window
        if weights:
            weights.check(encoder.image_size)
            self.needs = ("image", *weights.needs)
        self.encoder = encoder
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.token = mask_token(encoder.patch_dim)
        self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)

    def forward(self, batch: Batch) -> Losses:
        image, hidden = batch["image"], self.mask(keys(batch))
        features = tokens(self.encoder(image, hidden, self.token))
        cells = self.mask.part(hidden).cells
        weights = self.weights(batch) if self.weights else None
        wanted = only(in_surroundings(image, self.target_window), hidden)
        return {"image": painted_l1(self.head, take(features, cells), wanted, cells, weights)}

    def warnings(self, batch: Batch) -> list[str]:
        return self.weights.warnings(batch) if self.weights else []

    def paint(self, batch: Batch) -> Painting:
        image, hidden = batch["image"], self.mask(keys(batch))
        painted = self.head.paint(self.encoder(image, hidden, self.token)).float()
        painted = from_surroundings(painted, image, self.target_window)
        return Painting(image, hidden, painted, is_measured=not self.target_window)

    def pictures(self, batch: Batch) -> Pictures:
        weights = {"weights": self.weights(batch)} if self.weights else {}
        return self.paint(batch).pictures() | weights
