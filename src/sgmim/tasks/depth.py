"""Monocular depth estimation: meters for every pixel, from one image.

By default with the head, loss and range of MIM-Depth-Estimation (Xie et al., 2022,
arXiv:2205.13543), which SG-MIM's Tables 1 and 2 follow: sigmoid times the largest depth,
scale-invariant log error.
"""

from typing import Any, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError, unknown
from sgmim.objective import Batch, Losses, Pictures
from sgmim.tasks.dense import DensePrediction
from sgmim.tasks.depth_losses import LOSSES, Loss
from sgmim.tasks.depth_metrics import METRICS, DepthMeter
from sgmim.tasks.heads.base import HeadMaker, Scale
from sgmim.tasks.heads.deconv import DeconvHead
from sgmim.tasks.regions import Region


class DepthEstimation(DensePrediction):
    """Predict depth; learn and be scored where the true depth is known (a number above 0)."""

    needs = ("image", "depth")
    metrics = METRICS

    def __init__(
        self,
        encoder: Encoder,
        head: HeadMaker = DeconvHead,
        *,
        frozen: bool = False,
        max_depth: float = 10.0,
        min_depth: float = 1e-3,
        loss: Loss = "silog",
        scale: Scale | None = None,
        mean_depth: float = 2.0707764,
        deviation: float = 0.7775723,
        within_range: bool = False,
        region: Region = "none",
        clamp: bool = True,
    ):
        """The means and deviations of the defaults are NYU-v2's, of MultiMAE's code.

        Args:
            frozen: leave the encoder as it is: what do its features say?
            max_depth: meters; what it can predict, and below which it is scored.
            min_depth: meters, above which it is scored; of a head of shares, the least it predicts.
            loss: "silog" is the scale-invariant error of MIM-Depth-Estimation, "silog_bts" and
                "silog_adabins" (also of BinsFormer and iDisc) its other published forms; "berhu"
                and "l1" are MultiMAE's.
            scale: how the head's number becomes meters; by default as the head is made for.
                "sigmoid": its share of max_depth; "exp": it is the logarithm of the depth;
                "share": it is the share of the way from min_depth to max_depth;
                "standardized": it is in deviations from mean_depth.
            mean_depth: meters.
            deviation: meters; "berhu" and "l1" of a "standardized" head are measured in it.
            within_range: learn only from depths between min_depth and max_depth.
            region: the part of an image that is scored.
            clamp: score predictions as if cut to min_depth .. max_depth.

        Raises:
            ConfigurationError: a loss, scale or region that there is not, or no range of depths.
        """
        super().__init__(encoder, head(encoder, 1), frozen=frozen)
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        if scale is not None and scale not in get_args(Scale):
            raise unknown("scale", scale, get_args(Scale))
        if not 0 <= min_depth < max_depth or deviation <= 0:
            raise ConfigurationError(
                f"depths are from min_depth={min_depth:g}, 0 or more, to a larger max_depth="
                f"{max_depth:g}, and their deviation is above 0, not {deviation:g}"
            )
        self.max_depth, self.min_depth, self.loss = max_depth, min_depth, loss
        self.scale: Scale = self.head.scale if scale is None else scale
        self.mean_depth, self.deviation, self.within_range = mean_depth, deviation, within_range
        self.region, self.clamp = region, clamp
        self.meter()  # refuses an unknown region now, not after an epoch

    def forward(self, batch: Batch) -> Losses:
        truth = batch["depth"]
        known = self.known(truth)
        unit = self.deviation if self.scale == "standardized" else 1.0  # meters; silog has no unit
        error = LOSSES[self.loss]
        losses = [
            weight * error(self.meters(numbers) / unit, truth / unit, known)
            for weight, numbers in self.head.trained(*self.look(batch["image"]))
        ]
        return {self.loss: torch.stack(losses).sum()}

    def known(self, truth: Float[Tensor, "b 1 H W"]) -> Bool[Tensor, "b 1 H W"]:
        """Where there is something to learn."""
        if self.within_range:
            return (truth > self.min_depth) & (truth < self.max_depth)
        return (truth > 0) & truth.isfinite()

    def predict(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 H W"]:
        """Meters for every pixel."""
        return self.meters(self.head(*self.look(image)))

    def meters(self, numbers: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 H W"]:
        """What the numbers of the head mean."""
        numbers = numbers.float()
        match self.scale:
            case "sigmoid":
                return self.max_depth * numbers.sigmoid()
            case "exp":
                return numbers.exp()
            case "share":
                return self.min_depth + (self.max_depth - self.min_depth) * numbers
            case _:  # standardized
                return self.mean_depth + self.deviation * numbers

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
