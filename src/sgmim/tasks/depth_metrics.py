"""How good a depth map is: the errors of Eigen et al. (2014, arXiv:1406.2283), as KITTI and NYU-v2
are scored with them.

Published scores differ in which pixels count and in what is averaged first, so a meter keeps its
settings and tells them with the score.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import ConfigurationError, DataError, unknown
from sgmim.objective import Batch

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
Crop = Literal["none", "garg", "eigen", "nyu_eigen"]
Box = tuple[slice, slice]  # rows, columns


class DepthMeter:
    """The mean over images of each image's errors.

    A pixel counts where its true depth is known, strictly between `min_depth` and `max_depth`
    meters and inside `crop`. An image without any is left out of the mean, but counted.

    `totals` is all there is to it: float64 sums over images, to be added up over processes.
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        max_depth: float,
        min_depth: float = 1e-3,
        crop: str = "none",
        clamp: bool = True,
    ):
        if crop not in CROPS:
            raise unknown("crop", crop, CROPS)
        self.max_depth, self.min_depth = max_depth, min_depth
        self.crop, self.clamp = crop, clamp
        # one sum a metric, then the images scored and those without truth
        self.totals = torch.zeros(len(METRICS) + 2, dtype=torch.float64)

    def update(self, prediction: Float[Tensor, "b 1 h w"], batch: Batch) -> None:
        """Score predictions in meters against batch["depth"], at the size of the latter."""
        truth = batch["depth"]
        counts = self.counts(truth)
        height, width = truth.shape[-2:]
        errors = depth_errors(self.readable(prediction, (height, width)), truth, counts)
        scored = counts.flatten(1).any(dim=1)
        sums = [errors[name].where(scored, 0).sum() for name in METRICS]
        self._add(torch.stack([*sums, scored.sum(), (~scored).sum()]))

    def merge(self, other: "DepthMeter") -> None:
        """Take over what another meter has seen."""
        self._add(other.totals)

    def results(self) -> dict[str, float]:
        """Every metric. Raises DataError where no image could be scored."""
        *sums, images, without = self.totals.tolist()
        if not images:
            raise DataError(
                f"none of {without:.0f} images has a depth between {self.min_depth:g} and "
                f"{self.max_depth:g} meters (crop: {self.crop}); check the scale of the depth maps"
            )
        return {name: total / images for name, total in zip(METRICS, sums, strict=True)}

    def protocol(self) -> dict[str, str | float | int | bool]:
        """How the score was made, to be written beside it."""
        *_, images, without = self.totals.tolist()
        return {
            "crop": self.crop,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "clamped": self.clamp,
            "averaged": "over the pixels of an image, then over images",
            "images": int(images),
            "images_without_truth": int(without),
        }

    def counts(self, truth: Float[Tensor, "b 1 H W"]) -> Bool[Tensor, "b 1 H W"]:
        """Which pixels are scored."""
        inside = torch.zeros_like(truth, dtype=torch.bool)
        rows, columns = CROPS[self.crop](*truth.shape[-2:])
        inside[..., rows, columns] = True
        return inside & (truth > self.min_depth) & (truth < self.max_depth)

    def readable(
        self, prediction: Float[Tensor, "b 1 h w"], size: tuple[int, int]
    ) -> Float[Tensor, "b 1 H W"]:
        """The prediction at `size`, with a number for every pixel."""
        if prediction.shape[-2:] != size:
            prediction = F.interpolate(prediction, size, mode="bilinear")
        low, high = self.min_depth, self.max_depth
        prediction = prediction.float().nan_to_num(nan=low, posinf=high, neginf=low)
        return prediction.clamp(low, high) if self.clamp else prediction

    def _add(self, totals: Float[Tensor, " n"]) -> None:
        self.totals = self.totals.to(totals.device) + totals


def depth_errors(
    prediction: Float[Tensor, "b 1 H W"],
    truth: Float[Tensor, "b 1 H W"],
    where: Bool[Tensor, "b 1 H W"],
) -> dict[str, Float[Tensor, " b"]]:
    """The METRICS of every image over the pixels `where` marks, in float64; NaN if it marks none.

    Two scale-invariant errors go by the name "silog": `silog_kitti` is that of KITTI's benchmark,
    `silog_half` that of GLPDepth and MIM-Depth-Estimation.
    """
    p, y = (depth.float().where(where, 1) for depth in (prediction, truth))
    ratio = torch.maximum(p / y, y / p)  # in float32 like the published: rounding settles ties
    p, y, count = p.double(), y.double(), where.flatten(1).sum(dim=1)

    def mean(x: Tensor) -> Float[Tensor, " b"]:
        return x.double().where(where, 0).flatten(1).sum(dim=1) / count

    e, log = p - y, p.log() - y.log()
    mean_log, mean_square_log = mean(log), mean(log.square())
    return {
        "abs_rel": mean(e.abs() / y),
        "sq_rel": mean(e.square() / y),
        "rmse": mean(e.square()).sqrt(),
        "rmse_log": mean_square_log.sqrt(),
        "log10": mean((p.log10() - y.log10()).abs()),
        "delta1": mean(ratio < 1.25),
        "delta2": mean(ratio < 1.25**2),
        "delta3": mean(ratio < 1.25**3),
        "silog_kitti": 100 * (mean_square_log - mean_log.square()).clamp_min(0).sqrt(),
        "silog_half": (mean_square_log - mean_log.square() / 2).sqrt(),
    }


def whole(height: int, width: int) -> Box:
    return slice(0, height), slice(0, width)


def garg(height: int, width: int) -> Box:
    """Where KITTI's laser reaches, by Garg et al. (2016): 143:349, 43:1172 of 352 x 1216."""
    return part(height, 0.40810811, 0.99189189), part(width, 0.03594771, 0.96405229)


def eigen(height: int, width: int) -> Box:
    """The same by Eigen et al. (2014): rows 117:321, columns 43:1172 of 352 x 1216 pixels."""
    return part(height, 0.3324324, 0.91351351), part(width, 0.0359477, 0.96405229)


def nyu_eigen(height: int, width: int) -> Box:
    """Inside NYU-v2's blank border; raises ConfigurationError for maps of another size."""
    if (height, width) != (480, 640):
        raise ConfigurationError(
            f"the crop nyu_eigen is a box in 480 x 640 pixels, but these depth maps are "
            f"{height} x {width}; evaluate at the full size or without a crop"
        )
    return slice(45, 471), slice(41, 601)


def part(length: int, start: float, stop: float) -> slice:
    return slice(int(start * length), int(stop * length))


CROPS: dict[str, Callable[[int, int], Box]] = {
    "none": whole,
    "garg": garg,
    "eigen": eigen,
    "nyu_eigen": nyu_eigen,
}
