"""How good a depth map is: the errors of Eigen et al. (2014, arXiv:1406.2283), as KITTI and NYU-v2
are scored with them.

Published scores differ in which pixels count and in what is averaged first, so a meter keeps its
settings and tells them with the score.
"""

from math import log
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import ConfigurationError, DataError, unknown
from sgmim.objective import Batch
from sgmim.tasks.regions import REGIONS, Box

METRICS = (
    "abs_rel",
    "sq_rel",
    "rmse",
    "rmse_log",
    "log10",
    "delta1",
    "delta2",
    "delta3",
    "silog_kitti",
    "silog_half",
)


class DepthMeter:
    """The mean over images of each image's errors.

    A pixel counts where its true depth is known, strictly between `min_depth` and `max_depth`
    meters and inside the region. An image without any is left out of the mean, but counted.

    `totals` is all there is to it: float64 sums over images, to be added up over processes.
    """

    rising: tuple[str, ...] = ("delta1", "delta2", "delta3")

    def __init__(
        self,
        *,
        max_depth: float = 10.0,
        min_depth: float = 1e-3,
        region: str = "none",
        region_frame: Literal["kb", "full"] = "kb",
        clamp: bool = True,
        scaling: Literal["none", "median"] = "none",
    ):
        """How depth is scored.

        Args:
            max_depth: meters, below which a pixel is scored.
            min_depth: meters, above which a pixel is scored.
            region: the part of an image that is scored: none, garg, eigen or nyu_eigen.
            region_frame: whose shares the region is made of: those of the image that is seen, which
                for KITTI is the crop of 352 x 1216 pixels ("kb", as AdaBins, GLPDepth, iDisc); or
                those of the whole image that this was cut from ("full", as BTS).
            clamp: score predictions as if cut to min_depth .. max_depth.
            scaling: what a prediction is multiplied with first: nothing, or the true median of its
                image over its own: how good it is if only the scale is told.

        Raises:
            ConfigurationError: there is no such region.
        """
        if region not in REGIONS:
            raise unknown("region", region, REGIONS)
        self.max_depth, self.min_depth, self.clamp = max_depth, min_depth, clamp
        self.region, self.region_frame, self.scaling = region, region_frame, scaling
        self.needs: tuple[str, ...] = ("frame",) if region_frame == "full" else ()
        # one sum a metric, then the images scored and those without truth
        self.totals = torch.zeros(len(METRICS) + 2, dtype=torch.float64)

    def update(self, prediction: Float[Tensor, "b 1 h w"], batch: Batch) -> None:
        """Score predictions in meters against batch["depth"], at the size of the latter."""
        truth = batch["depth"]
        if prediction.shape[-2:] != truth.shape[-2:]:
            prediction = F.interpolate(prediction.float(), truth.shape[-2:], mode="bilinear")
        for one, (said, known) in enumerate(zip(prediction, truth, strict=True)):
            frame = batch["frame"][one].int().tolist() if self.needs else None
            self._score(said[0], known[0], self.box(known.shape[1], known.shape[2], frame))

    def merge(self, other: "DepthMeter") -> None:
        """Take over what another meter has seen."""
        self._add(other.totals)

    def results(self) -> dict[str, float]:
        """Every metric. Raises DataError where no image could be scored."""
        *sums, images, without = self.totals.tolist()
        if not images:
            raise DataError(
                f"none of {without:.0f} images has a depth between {self.min_depth:g} and "
                f"{self.max_depth:g} meters (region: {self.region}); check the scale of the depth "
                "maps"
            )
        return {name: total / images for name, total in zip(METRICS, sums, strict=True)}

    def protocol(self) -> dict[str, Any]:
        """How the score was made, to be written beside it."""
        *_, images, without = self.totals.tolist()
        return {
            "region": self.region,
            "region_frame": self.region_frame,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "clamp": self.clamp,
            "scaling": self.scaling,
            "averaged": "over the pixels of an image, then over images",
            "images": int(images),
            "images_without_truth": int(without),
        }

    def counts(self, truth: Float[Tensor, "*b H W"]) -> Bool[Tensor, "*b H W"]:
        """Which depths are scored, wherever they are."""
        return (truth > self.min_depth) & (truth < self.max_depth)

    def box(self, height: int, width: int, frame: list[int] | None = None) -> Box:
        """The region of an image of some size.

        Args:
            height, width: in pixels.
            frame: height and width of the image that it was cut from, and its top and left there.

        Raises:
            ConfigurationError: there is no such region of images of this size.
        """
        if frame is None:
            return REGIONS[self.region](height, width)
        full_height, full_width, top, left = frame
        rows, columns = REGIONS[self.region](full_height, full_width)
        rows = slice(rows.start - top, rows.stop - top)
        columns = slice(columns.start - left, columns.stop - left)
        if min(rows.start, columns.start) < 0 or rows.stop > height or columns.stop > width:
            raise ConfigurationError(
                f"the region {self.region} of the full {full_height} x {full_width} pixels reaches "
                f"beyond the {height} x {width} that were cut from them; take region_frame kb"
            )
        return rows, columns

    def _score(
        self, prediction: Float[Tensor, "H W"], truth: Float[Tensor, "H W"], box: Box
    ) -> None:
        """Score one image."""
        truth, prediction = truth[box].float(), prediction[box]
        where = self.counts(truth)
        truth = truth.masked_select(where)  # a fifth of an index's time
        if not len(truth):
            self._add(truth.new_tensor([0.0] * len(METRICS) + [0, 1]).double())
            return
        errors = depth_errors(self.readable(prediction.masked_select(where).float(), truth), truth)
        self._add(torch.stack([*(errors[name] for name in METRICS), *truth.new_tensor([1.0, 0.0])]))

    def readable(
        self, prediction: Float[Tensor, " n"], truth: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """A prediction with a number for every pixel, as far as asked for scaled and clamped."""
        low, high = self.min_depth, self.max_depth
        prediction = prediction.nan_to_num(nan=low, posinf=high, neginf=low)
        if self.scaling == "median":
            prediction = prediction * (median(truth) / median(prediction).clamp_min(1e-6))
        return prediction.clamp(low, high) if self.clamp else prediction

    def _add(self, totals: Float[Tensor, " n"]) -> None:
        self.totals = self.totals.to(totals.device) + totals


def depth_errors(
    prediction: Float[Tensor, " n"], truth: Float[Tensor, " n"]
) -> dict[str, Float[Tensor, ""]]:
    """The METRICS over the pixels of one image, in float64; NaN if there are none.

    Two scale-invariant errors go by the name "silog": `silog_kitti` is that of KITTI's benchmark,
    `silog_half` that of GLPDepth and MIM-Depth-Estimation.
    """
    p, y = prediction.float(), truth.float()
    worst = torch.maximum(p / y, y / p)  # in float32 like the published: rounding settles ties
    p, y = p.double(), y.double()
    e, logs = p - y, (p / y).log()
    squares = e.square()
    mean_log, mean_square_log = logs.mean(), logs.square().mean()
    return {
        "abs_rel": (e.abs() / y).mean(),
        "sq_rel": (squares / y).mean(),
        "rmse": squares.mean().sqrt(),
        "rmse_log": mean_square_log.sqrt(),
        "log10": logs.abs().mean() / log(10),
        "delta1": _share(worst < 1.25),
        "delta2": _share(worst < 1.25**2),
        "delta3": _share(worst < 1.25**3),
        "silog_kitti": 100 * (mean_square_log - mean_log.square()).clamp_min(0).sqrt(),
        "silog_half": (mean_square_log - mean_log.square() / 2).sqrt(),
    }


def median(x: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The middle value, or the mean of the two in the middle: torch's own takes the lower."""
    x = x.sort().values
    return (x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2


def _share(marks: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    return marks.count_nonzero().double() / len(marks)
