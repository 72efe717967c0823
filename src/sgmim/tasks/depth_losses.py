"""How wrong predicted depth is, in the forms that the papers train with.

Each is a number over the known pixels of a whole batch, in float32. Where everything is right, or
nothing known, it has no gradient rather than one that is not finite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# "silog" is GLPDepth's and MIM-Depth-Estimation's, "silog_bts" that of BTS, "silog_adabins" that of
# AdaBins, BinsFormer and iDisc; "berhu" and "l1" are MultiMAE's.
Loss = Literal["silog", "silog_bts", "silog_adabins", "berhu", "l1"]


@dataclass(frozen=True, kw_only=True)
class SILog:
    """Scale-invariant log error (Eigen et al., 2014, arXiv:1406.2283, section 3.2).

    With d = ln truth - ln prediction it is factor * sqrt(mean(d^2) - focus * mean(d)^2), computed
    as the variance of d plus the share (1 - focus) of its squared mean. Predictions count as 1e-6
    at least; BinsFormer and iDisc keep away from ln 0 by adding 1e-3 and 1e-6 to both depths.
    """

    focus: float  # on shape rather than scale: 1 does not mind a wrong scale at all
    factor: float = 1.0
    unbiased: bool = False  # the variance over n - 1 pixels

    def __call__(
        self,
        prediction: Float[Tensor, "b 1 H W"],
        truth: Float[Tensor, "b 1 H W"],
        known: Bool[Tensor, "b 1 H W"],
    ) -> Float[Tensor, ""]:
        """The error where `known`; there the truth is above 0."""
        prediction, truth = readable(prediction, truth, known)
        d = truth.log() - prediction.clamp_min(1e-6).log()
        count = known.sum()
        mean = d.sum() / count.clamp_min(1)  # d is 0 where nothing is known
        squares = (d - mean).where(known, 0).square().sum()
        variance = squares / (count - int(self.unbiased)).clamp_min(1)
        least = 1e-8  # the gradient of a root is infinite at 0
        return self.factor * (variance + (1 - self.focus) * mean.square()).clamp_min(least).sqrt()


def berhu(
    prediction: Float[Tensor, "b 1 H W"],
    truth: Float[Tensor, "b 1 H W"],
    known: Bool[Tensor, "b 1 H W"],
) -> Float[Tensor, ""]:
    """Reverse Huber error (Laina et al., 2016, arXiv:1606.00373, section 3.3): linear up to a fifth
    of the largest error of the batch, squared beyond. That bend has no gradient."""
    prediction, truth = readable(prediction, truth, known)
    error = (prediction - truth).abs()
    bend = (0.2 * error.detach().max()).clamp_min(1e-5)
    bent = torch.where(error < bend, error, (error.square() + bend.square()) / (2 * bend))
    return bent.sum() / known.sum().clamp_min(1)


def l1(
    prediction: Float[Tensor, "b 1 H W"],
    truth: Float[Tensor, "b 1 H W"],
    known: Bool[Tensor, "b 1 H W"],
) -> Float[Tensor, ""]:
    """Mean absolute error."""
    prediction, truth = readable(prediction, truth, known)
    return (prediction - truth).abs().sum() / known.sum().clamp_min(1)


def readable(
    prediction: Float[Tensor, "b 1 H W"],
    truth: Float[Tensor, "b 1 H W"],
    known: Bool[Tensor, "b 1 H W"],
) -> tuple[Float[Tensor, "b 1 H W"], Float[Tensor, "b 1 H W"]]:
    """Both in float32 with 1 where nothing is known: no error, and no gradient of a hole."""
    return prediction.float().where(known, 1), truth.float().where(known, 1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "silog": SILog(focus=0.5),
    "silog_bts": SILog(focus=0.85, factor=10.0),
    "silog_adabins": SILog(focus=0.85, factor=10.0, unbiased=True),
    "berhu": berhu,
    "l1": l1,
}
