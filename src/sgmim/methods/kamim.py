"""KAMIM: Keypoint Aware Masked Image Modelling (Krishna and Subramanyam, 2024).

https://arxiv.org/abs/2407.13873

    image, hidden --> Encoder --> PixelHead --> image, where hidden
                                                  ^
    keypoints --> density --> exp(density / T) ---+  weighs every pixel

SimMIM, whose loss counts most where the image has most corners. The weights are at least 1 and are
not averaged out, so the loss grows with them.
"""

from typing import Literal

import torch
from torch import nn

from sgmim.encoders.base import Encoder
from sgmim.layers import PixelHead, take, tokens
from sgmim.losses import painted_l1
from sgmim.masking import RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Painting, Pictures
from sgmim.weighting import Normalize, Raster, Weights


class KAMIM(Objective):
    """Paint the hidden patches with a single linear layer, above all where there are keypoints.

    Args:
        encoder: any; the authors' ViTs are kamim_vit_{tiny,small,base}_patch16.
        mask_ratio: share of the image that is hidden.
        mask_size: pixels a side of the squares that are hidden.
        detector: of the keypoints, and the name of the map that has them.
        raster: how keypoints are drawn (weighting.Weights). "ring" as the authors' code does,
            "point" as their paper says: at one temperature two very different methods.
        weight_size: pixels a side of the patches that have one weight each: the paper's w_ps.
        temperature: T, the lower the more uneven; with infinity (.inf) this is SimMIM.
        weight_norm: what the weights of an image are divided by.
        radius: of the raster "disk", pixels.
        sigma: of the raster "gaussian", pixels.

    Raises:
        ConfigurationError: squares or patches that do not tile the image, or a number that is none.
    """

    paints_from = ("image",)

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.6,
        mask_size: int = 32,
        detector: Literal["fast", "orb", "sift"] = "fast",
        raster: Raster = "ring",
        weight_size: int = 8,
        temperature: float = 0.25,
        weight_norm: Normalize = "min",
        radius: float = 3.0,
        sigma: float = 1.0,
    ):
        super().__init__()
        self.weights = Weights(
            of=detector,
            size=weight_size,
            temperature=temperature,
            normalize=weight_norm,
            raster=raster,
            radius=radius,
            sigma=sigma,
        )
        self.weights.check(encoder.image_size)
        self.needs = ("image", *self.weights.needs)
        self.encoder = encoder
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.token = nn.Parameter(torch.zeros(encoder.patch_dim))  # as the authors' begins
        self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)

    def forward(self, batch: Batch) -> Losses:
        image, hidden = batch["image"], self.mask(keys(batch))
        features = tokens(self.encoder(image, hidden, self.token))
        cells = self.mask.part(hidden).cells
        hidden_image, weights = only(image, hidden), self.weights(batch)
        return {"image": painted_l1(self.head, take(features, cells), hidden_image, cells, weights)}

    def warnings(self, batch: Batch) -> list[str]:
        return self.weights.warnings(batch)

    def paint(self, batch: Batch) -> Painting:
        image, hidden = batch["image"], self.mask(keys(batch))
        painted = self.head.paint(self.encoder(image, hidden, self.token)).float()
        return Painting(image, hidden, painted)

    def pictures(self, batch: Batch) -> Pictures:
        return self.paint(batch).pictures() | {"weights": self.weights(batch)}
