"""Semantic segmentation: a class for every pixel, from one image.

Loss and auxiliary loss are those of UperNet as it is trained on ADE20K (Xiao et al., 2018,
arXiv:1807.10221; settings of mmsegmentation, after which SG-MIM's Table 4 is made).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch, Losses, Pictures
from sgmim.palette import class_colors
from sgmim.tasks.dense import DensePrediction
from sgmim.tasks.heads.base import HeadMaker
from sgmim.tasks.heads.upernet import UperNetHead
from sgmim.tasks.segmentation_metrics import METRICS, SegmentationMeter


class SemanticSegmentation(DensePrediction):
    """Predict classes; learn and be scored where the true class is known (a number, not NaN)."""

    needs = ("image", "classes")
    metrics = METRICS

    def __init__(
        self,
        encoder: Encoder,
        head: HeadMaker = UperNetHead,
        *,
        classes: int = 150,  # how many there are; maps hold numbers from 0 to one below
        frozen: bool = False,  # leave the encoder as it is: what do its features say?
    ):
        if classes < 2:
            raise ConfigurationError(f"classes are 2 or more, not {classes}")
        super().__init__(encoder, head(encoder, classes), frozen=frozen)
        self.limits = {"classes": classes}

    def forward(self, batch: Batch) -> Losses:
        outputs = self.head.trained(*self.look(batch["image"]))
        losses = [weight * cross_entropy(logits, batch["classes"]) for weight, logits in outputs]
        return {"cross_entropy": torch.stack(losses).sum()}

    def predict(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        """What speaks for each class, in every pixel: the most likely has the largest number."""
        return self.head(*self.look(image)).float()

    def meter(self, **options: Any) -> SegmentationMeter:
        return SegmentationMeter(**{**self.limits, **options})

    def pictures(self, batch: Batch) -> Pictures:
        said = self.predict(batch["image"]).argmax(dim=1, keepdim=True).float()
        return {
            "image": batch["image"],
            "classes": class_colors(batch["classes"]),
            "predicted classes": class_colors(said),
        }


def cross_entropy(
    logits: Float[Tensor, "b k H W"], classes: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, ""]:
    """The mean over the pixels of a batch whose class is known; 0 where none is.

    In mmsegmentation unknown pixels count as well, with a loss of 0: there an image of which half
    is labeled has half the loss.
    """
    known = classes.isfinite()[:, 0]
    labels = classes[:, 0].nan_to_num(0).long()
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return losses.where(known, 0).sum() / known.sum().clamp_min(1)
