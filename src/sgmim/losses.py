"""Errors measured on part of an image."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import ConfigurationError
from sgmim.layers import PixelHead, patches, take


def painted_l1(
    head: PixelHead,
    features: Float[Tensor, "b m d"],
    target: Float[Tensor, "b c H W"],
    cells: Int[Tensor, "b m"],
    weights: Float[Tensor, "b 1 H W"] | None = None,
) -> Float[Tensor, ""]:
    """Mean absolute error of what `head` paints in some cells, given their features and places.

    The target counts where there is one (not NaN). Only these cells are painted: a cell's square
    depends on no other, so with the target where an image is hidden this is SimMIM's formula
    sum(|x - y| * mask) / sum(mask) / channels, at the cost of a part. Each image is averaged by
    itself, then the batch, so that parts of a batch add up to the whole.

    With `weights` (weighting.py) every error counts so many times, and is divided by as much as
    before: KAMIM's sum(weight * |x - y| * mask) / sum(mask) / channels, which grows with them.
    """
    painted = head(features).float()  # (b, m, c * stride * stride)
    wanted = take(patches(target.float(), head.stride), cells)
    asked = wanted.isfinite()
    error = (painted - wanted.nan_to_num()).abs() * asked
    if weights is not None:
        weight = take(patches(weights, head.stride), cells)  # (b, m, stride * stride)
        error = error * weight.repeat(1, 1, target.shape[1])
    return mean_where(error, asked)


def painted_mse(
    painted: Float[Tensor, "b m q"],
    wanted: Float[Tensor, "b m q"],
    *,
    normalized: bool = False,
) -> Float[Tensor, ""]:
    """Mean squared error of the patches that were removed.

    Args:
        painted: what was made of each patch, in any order of its pixels.
        wanted: what it is.
        normalized: ask for each patch in its own scale (standardized_patches).
    """
    wanted = standardized_patches(wanted) if normalized else wanted.float()
    return (painted.float() - wanted).square().mean()


def standardized_patches(
    patches: Float[Tensor, "b m q"], eps: float = 1e-6
) -> Float[Tensor, "b m q"]:
    """Each patch by the mean and deviation of all its numbers: MAE's normalized pixels (He et al.,
    2022, section 4.1; unbiased variance, eps inside the root)."""
    variance, mean = torch.var_mean(patches.float(), dim=2, keepdim=True)
    return (patches.float() - mean) / (variance + eps).sqrt()


def mean_where(error: Float[Tensor, "b ..."], where: Shaped[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """Mean over a part of every image, then over the images; no part is no error.

    Where it is no yes or no, it says how much each number counts. Multiplied out rather than
    indexed: error[where] would make the GPU wait to learn how many.
    """
    count = where.flatten(1).sum(dim=1).clamp(min=1)
    return (error.flatten(1).sum(dim=1) / count).mean()


# Losses of a map that guides or is painted itself. `painted` and `wanted` are some cells of it: q
# pixels in each of m cells, NaN in `wanted` where nothing is known. `trust`, from 0 to 1, says how
# much a pixel counts; it divides too, so that half the trust everywhere is the same loss.
Painted = Float[Tensor, "b m c q"]
Wanted = Float[Tensor, "b m _ q"]
Trust = Float[Tensor, "b m 1 q"] | None


def l1(painted: Painted, wanted: Wanted, trust: Trust = None) -> Float[Tensor, ""]:
    """Mean absolute error."""
    counts = _counts(wanted.isfinite(), trust)
    return mean_where((painted - wanted.nan_to_num()).abs() * counts, counts)


def mse(painted: Painted, wanted: Wanted, trust: Trust = None) -> Float[Tensor, ""]:
    """Mean squared error."""
    counts = _counts(wanted.isfinite(), trust)
    return mean_where((painted - wanted.nan_to_num()).square() * counts, counts)


def ssi(painted: Painted, wanted: Wanted, trust: Trust = None) -> Float[Tensor, ""]:
    """Mean absolute error after the scale and shift that fit best: what is painted is right up to
    these, for every image and channel.

    Best by least squares, in closed form, on the pixels that are asked, and the gradient knows of
    it: "Towards Robust Monocular Depth Estimation" (MiDaS; Ranftl et al., 2020), equation 4. A
    negative scale fits as well as a positive one.
    """
    counts = _counts(wanted.isfinite(), trust)
    wanted = wanted.nan_to_num()
    total = counts.sum(dim=(1, 3), keepdim=True).clamp(min=1e-6)
    middle, aim = (_sum(values * counts) / total for values in (painted, wanted))
    deviation, wish = painted - middle, wanted - aim
    scale = _sum(deviation * wish * counts) / _sum(deviation.square() * counts).clamp(min=1e-6)
    return mean_where((scale * deviation - wish).abs() * counts, counts)


def cosine(painted: Painted, wanted: Wanted, trust: Trust = None) -> Float[Tensor, ""]:
    """Mean of 1 - the cosine of the angle between what is painted and a direction."""
    counts = _counts(wanted.isfinite().all(dim=2, keepdim=True), trust)
    agreement = F.cosine_similarity(painted, wanted.nan_to_num(), dim=2)[:, :, None]
    return mean_where((1 - agreement) * counts, counts)


def cross_entropy(painted: Painted, wanted: Wanted, trust: Trust = None) -> Float[Tensor, ""]:
    """Mean surprise at the class, of as many as there are channels painted."""
    counts = _counts(wanted.isfinite(), trust)
    classes = wanted.nan_to_num().long()[:, :, 0]
    surprise = F.cross_entropy(painted.transpose(1, 2), classes, reduction="none")
    return mean_where(surprise[:, :, None] * counts, counts)


def _counts(known: Bool[Tensor, "b m c q"], trust: Trust) -> Shaped[Tensor, "b m c q"]:
    return known if trust is None else known * trust.nan_to_num()


def _sum(values: Float[Tensor, "b m c q"]) -> Float[Tensor, "b 1 c 1"]:
    return values.sum(dim=(1, 3), keepdim=True)


def trimmed_standardized(
    values: Float[Tensor, "b c H W"], trim: float = 0.1, eps: float = 1e-6
) -> Float[Tensor, "b c H W"]:
    """Scale every map by the mean and deviation of its middle 80 %, the two tails left out.

    MultiMAE's rule, which SG-MIM takes over: the sorted values from place int(0.1 n) to int(0.9 n),
    unbiased variance, eps inside the root. Only what is known (not NaN) counts, every channel for
    itself; a constant map becomes 0.
    """
    flat, middle = _middle(values.float().flatten(2), trim)
    count = middle.sum(dim=2, keepdim=True)
    mean = (flat * middle).sum(dim=2, keepdim=True) / count.clamp(min=1)
    square = ((flat - mean).square() * middle).sum(dim=2, keepdim=True)
    deviation = (square / (count - 1).clamp(min=1) + eps).sqrt()
    return (values.float() - mean[..., None]) / deviation[..., None]


def in_surroundings(image: Float[Tensor, "b c H W"], window: int) -> Float[Tensor, "b c H W"]:
    """Every pixel by the mean and deviation of the square of `window` pixels around it: what
    SimMIM's SwinV2 paints (Swin-Transformer, models/simmim.py). 0 leaves an image as it is."""
    if not window:
        return image
    mean, deviation = _surroundings(image.float(), window)
    return (image.float() - mean) / deviation


def from_surroundings(
    painted: Float[Tensor, "b c H W"], image: Float[Tensor, "b c H W"], window: int
) -> Float[Tensor, "b c H W"]:
    """Back to colors, to be looked at, by the surroundings in the true image."""
    if not window:
        return painted
    mean, deviation = _surroundings(image.float(), window)
    return painted * deviation + mean


def check_window(window: int) -> None:
    """Raise ConfigurationError where a pixel cannot be in the middle of such a square."""
    if window and (window < 3 or window % 2 == 0):
        raise ConfigurationError(
            f"target_window is 0, or pixels a side of a square around a pixel: 3 or more, and odd "
            f"(47 in SimMIM's SwinV2), not {window}"
        )


def _surroundings(
    image: Float[Tensor, "b c H W"], window: int
) -> tuple[Float[Tensor, "b c H W"], Float[Tensor, "b c H W"]]:
    """Means and deviations of squares, of which only what lies in the image counts; unbiased,
    1e-6 inside the root."""
    pixels = _summed(torch.ones_like(image[:1, :1]), window)
    mean = _summed(image, window) / pixels
    square = _summed(image.square(), window) / pixels
    variance = (square - mean.square()) * pixels / (pixels - 1)
    return mean, (variance.clamp(min=0) + 1e-6).sqrt()


def _summed(values: Float[Tensor, "b c H W"], window: int) -> Float[Tensor, "b c H W"]:
    """Sums over the square around every pixel, as differences of running sums: at no more cost for
    a larger window."""
    for dim in (2, 3):
        side = values.shape[dim]
        running = F.pad(values.cumsum(dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
        place = torch.arange(side, device=values.device)
        after, before = place + window // 2 + 1, place - window // 2
        values = running.index_select(dim, after.clamp(max=side))
        values = values - running.index_select(dim, before.clamp(min=0))
    return values


def centered(points: Float[Tensor, "b 3 H W"], trim: float = 0.1) -> Float[Tensor, "b 3 H W"]:
    """Points around the middle of their cloud, in its size: the same for a scene of any scale, and
    turned as the scene is.

    The middle is the mean. The size is the deviation an axis of those 80 % whose distance from it
    is neither among the least nor among the greatest: one for all axes, or a turned scene would be
    another. Only what is known (not NaN) counts.
    """
    flat = points.float().flatten(2)
    known = flat.isfinite().all(dim=1, keepdim=True)
    mean = (flat.nan_to_num() * known).sum(dim=2, keepdim=True)
    flat = (flat - mean / known.sum(dim=2, keepdim=True).clamp(min=1)).where(known, torch.nan)
    square, middle = _middle(flat.square().sum(dim=1, keepdim=True), trim)
    count = 3 * middle.sum(dim=2, keepdim=True).clamp(min=1)
    size = ((square * middle).sum(dim=2, keepdim=True) / count).sqrt()
    return (flat / size.clamp(min=1e-12)).view_as(points)


def _middle(
    values: Float[Tensor, "b c n"], trim: float
) -> tuple[Float[Tensor, "b c n"], Bool[Tensor, "b c n"]]:
    """The values in order, 0 for NaN, and which of these are neither least nor greatest."""
    flat = _in_order(values)
    n = flat.isfinite().sum(dim=2, keepdim=True)
    place = torch.arange(flat.shape[2], device=flat.device)
    middle = (place >= (trim * n.double()).long()) & (place < ((1 - trim) * n.double()).long())
    return flat.nan_to_num(), middle


def _in_order(values: Float[Tensor, "b c n"]) -> Float[Tensor, "b c n"]:
    """Sorted along the last dimension, NaN last.

    By numpy on a CPU: torch sorts the places too, and takes 2.6 ms for 192 x 192 pixels, not 0.1.
    """
    if values.is_cpu and not values.requires_grad:
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values
