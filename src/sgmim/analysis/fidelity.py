"""How near one image is to another: PSNR and SSIM, of the whole or of a part.

SSIM: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity" (2004), with their window of 11 pixels and its constants.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03


def squared_error(
    one: Float[Tensor, "b c H W"],
    other: Float[Tensor, "b c H W"],
    where: Bool[Tensor, "b H W"],
) -> Float[Tensor, " b"]:
    """Mean over the pixels in question and over channels; NaN for an image that has none."""
    return _mean((one - other).square().mean(dim=1), where)


def psnr(squared_error: Float[Tensor, " b"], span: float) -> Float[Tensor, " b"]:
    """Decibels, of colors that reach over a `span` from the darkest to the brightest."""
    return 10 * (span**2 / squared_error).log10()


def ssim(
    one: Float[Tensor, "b c H W"],
    other: Float[Tensor, "b c H W"],
    where: Bool[Tensor, "b H W"],
    span: float,
) -> Float[Tensor, " b"]:
    """Mean over the windows around these pixels, and over channels; NaN for an image that has none.
    At its edges an image is mirrored, as torchmetrics does."""
    channels = one.shape[1]
    together = torch.cat([one, other, one * one, other * other, one * other], dim=1)
    mean, mean_other, square, square_other, product = _blurred(together).split(channels, dim=1)
    luminance, contrast = (K1 * span) ** 2, (K2 * span) ** 2
    alike = (2 * mean * mean_other + luminance) / (mean**2 + mean_other**2 + luminance)
    variances = square - mean**2 + square_other - mean_other**2
    alike = alike * (2 * (product - mean * mean_other) + contrast) / (variances + contrast)
    return _mean(alike.mean(dim=1), where)


def _blurred(images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """By a Gaussian window."""
    places = torch.arange(WINDOW, device=images.device) - WINDOW // 2
    window = (-0.5 * (places / SIGMA) ** 2).exp()
    window = (window / window.sum()).to(images.dtype)
    single = F.pad(images.flatten(0, 1)[:, None], (WINDOW // 2,) * 4, mode="reflect")
    single = F.conv2d(F.conv2d(single, window[None, None, None]), window[None, None, :, None])
    return single[:, 0].unflatten(0, images.shape[:2])


def _mean(values: Float[Tensor, "b H W"], where: Bool[Tensor, "b H W"]) -> Float[Tensor, " b"]:
    return values.where(where, 0).sum(dim=(1, 2)) / where.sum(dim=(1, 2))
