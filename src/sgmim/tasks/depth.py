"""Monocular depth estimation: meters for every pixel, from one image.

Head, loss and range are those of MIM-Depth-Estimation (Xie et al., 2022, arXiv:2205.13543), which
SG-MIM's Tables 1 and 2 follow: sigmoid times the largest depth, scale-invariant log error.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.objective import Batch, Losses, Pictures
from sgmim.tasks.dense import DensePrediction
from sgmim.tasks.depth_metrics import METRICS, DepthMeter, Region
from sgmim.tasks.heads.base import HeadMaker
from sgmim.tasks.heads.deconv import DeconvHead


class DepthEstimation(DensePrediction):
    """Predict depth; learn and be scored where the true depth is known (a number above 0)."""

    needs = ("image", "depth")
    metrics = METRICS

    def __init__(
        self,
        encoder: Encoder,
        head: HeadMaker = DeconvHead,
        *,
        frozen: bool = False,  # leave the encoder as it is: what do its features say?
        max_depth: float = 10.0,  # meters: what it can predict, and below which it is scored
        min_depth: float = 1e-3,  # meters: above which it is scored
        focus: float = 0.5,  # on shape rather than scale: lambda of the scale-invariant error
        region: Region = "none",  # the part of an image that is scored
        clamp: bool = True,  # score predictions as if cut to min_depth .. max_depth
    ):
        super().__init__(encoder, head(encoder, 1), frozen=frozen)
        self.max_depth, self.min_depth, self.focus = max_depth, min_depth, focus
        self.region, self.clamp = region, clamp
        self.meter()  # refuses an unknown region now, not after an epoch

    def forward(self, batch: Batch) -> Losses:
        losses = [
            weight * silog(self.meters(numbers), batch["depth"], self.focus)
            for weight, numbers in self.head.trained(*self.look(batch["image"]))
        ]
        return {"silog": torch.stack(losses).sum()}

    def predict(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 H W"]:
        """Meters for every pixel."""
        return self.meters(self.head(*self.look(image)))

    def meters(self, numbers: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 H W"]:
        """What the numbers of the head mean."""
        return self.max_depth * numbers.float().sigmoid()

    def meter(self, **options: Any) -> DepthMeter:
        own = {
            "max_depth": self.max_depth,
            "min_depth": self.min_depth,
            "region": self.region,
            "clamp": self.clamp,
        }
        return DepthMeter(**(own | options))

    def pictures(self, batch: Batch) -> Pictures:
        truth = batch["depth"]
        return {
            "image": batch["image"],
            "depth": truth.where(truth > 0, torch.nan),
            "predicted depth": self.predict(batch["image"]),
        }


def silog(
    prediction: Float[Tensor, "b 1 H W"], truth: Float[Tensor, "b 1 H W"], focus: float = 0.5
) -> Float[Tensor, ""]:
    """Scale-invariant log error (Eigen et al., 2014), pooled over the known pixels of a batch.

    With d = ln truth - ln prediction: sqrt(mean(d^2) - focus * mean(d)^2). 1e-4 is the least it can
    be, without a gradient: that of the root would be infinite at 0. So too when nothing is known.
    """
    known = (truth > 0) & truth.isfinite()
    d = torch.where(known, truth.float().log() - prediction.float().clamp_min(1e-6).log(), 0)
    count = known.sum().clamp_min(1)
    mean, square = d.sum() / count, d.square().sum() / count
    return torch.sqrt((square - focus * mean.square()).clamp_min(1e-8))
