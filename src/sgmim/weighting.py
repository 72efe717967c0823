"""How much each pixel counts in the loss of an image: by keypoints, edges, jumps of any map.

"Keypoint Aware Masked Image Modelling" (Krishna and Subramanyam, 2024),
https://arxiv.org/abs/2407.13873

    map -> drawing in [0, 1] -> density of every patch -> exp(density / T), over the least of them

A loss takes weights of any origin; this is the one formula for them, whatever the map.
"""

from dataclasses import dataclass
from math import gcd
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import rasters
from sgmim.errors import ConfigurationError, DataError
from sgmim.losses import trimmed_standardized
from sgmim.objective import Batch

Raster = Literal["ring", "stamp", "point", "disk", "gaussian"]
Normalize = Literal["min", "mean", "none"]
DETECTORS = ("fast", "orb", "sift")
STEEPEST = 20.0  # largest exponent: what the authors clip at
HEAVY = 10.0  # mean weight from which a run is warned


@dataclass(frozen=True)
class Weights:
    """Weights of an image's pixels, by the density of what a map shows.

    Args:
        of: the map. "fast", "orb", "sift": keypoints; "edges": how strong they are; any other
            ("depth"): where it jumps.
        size: pixels a side of the patches that have one weight each (KAMIM's w_ps); it divides the
            image.
        temperature: T, the lower the more uneven; with infinity (.inf) every weight is 1.
        normalize: the weights of an image are divided by their "min" (KAMIM), their "mean", or by
            nothing ("none").
        raster: how keypoints are drawn. "ring": as KAMIM's code does; of ORB and SIFT, whose points
            lie between pixels, that is a map of its own ("orb_rings", "sift_rings"). "stamp": the
            same ring around the pixel of the point. "point": the pixel itself, as KAMIM's paper
            says. "disk" and "gaussian": around it.
        radius: of a disk, pixels.
        sigma: of a gaussian, pixels.
        jump: from one pixel to the next that counts as one, in deviations of the map's middle 80 %
            (losses.trimmed_standardized).

    Raises:
        ConfigurationError: a number that is none of these.
    """

    of: str = "fast"
    size: int = 8
    temperature: float = 0.25
    normalize: Normalize = "min"
    raster: Raster = "ring"
    radius: float = 3.0
    sigma: float = 1.0
    jump: float = 0.25

    def __post_init__(self):
        for name in ("size", "temperature", "radius", "sigma", "jump"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} of weights is above 0, not {getattr(self, name)}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The map that a batch must have."""
        if self.raster == "ring" and self.of in DETECTORS[1:]:
            return (f"{self.of}_rings",)
        return (self.of,)

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise ConfigurationError where the patches do not divide an image of this size."""
        height, width = image_size
        if height % self.size or width % self.size:
            common = gcd(height, width)
            fitting = [side for side in range(1, common + 1) if common % side == 0]
            near = min(fitting, key=lambda side: abs(side - self.size))
            raise ConfigurationError(
                f"patches of {self.size} pixels do not divide {height} x {width} images, which are "
                f"to have a weight each: the nearest size that does is {near}"
            )

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "b 1 H W"]:
        """The weight of every pixel. A part of the map that is unknown (NaN) shows nothing."""
        (name,) = self.needs
        values = batch[name]
        if values.shape[-2:] != batch["image"].shape[-2:]:
            raise DataError(
                f"the map {name!r} is {values.shape[-2]} x {values.shape[-1]} pixels and its image "
                f"{batch['image'].shape[-2]} x {batch['image'].shape[-1]}: make the map anew"
            )
        self.check((values.shape[-2], values.shape[-1]))
        density = F.avg_pool2d(self.drawing(values.float()), self.size)
        weights = (density / self.temperature).clamp(-STEEPEST, STEEPEST).exp()
        if self.normalize != "none":
            over = torch.amin if self.normalize == "min" else torch.mean
            weights = weights / over(weights, dim=(1, 2, 3), keepdim=True)
        return weights.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)

    def drawing(self, values: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 H W"]:
        """What of a map is counted: from 0, nothing, to 1."""
        if self.of == "edges" or self.needs != (self.of,):
            return values.nan_to_num().clamp(0, 1).amax(dim=1, keepdim=True)
        if self.of not in DETECTORS:
            return jumps(values, self.jump)
        match self.raster:
            case "ring" | "stamp":
                return rasters.ring(values)
            case "disk":
                return rasters.disk(values, self.radius)
            case "gaussian":
                return rasters.gaussian(values, self.sigma)
        return rasters.point(values)

    def warnings(self, batch: Batch) -> list[str]:
        """What is to be told of the weights of a batch before a run, a line each.

        Raises:
            DataError: the map is none of keypoints or edges.
        """
        (name,) = self.needs
        if self.of in (*DETECTORS, "edges"):
            known = batch[name].nan_to_num()
            if known.amin() < 0 or known.amax() > 1:
                raise DataError(
                    f"the map {name!r} has values from {known.amin():.4g} to {known.amax():.4g}, "
                    f"and can only have some from 0 to 1: is --data.maps.{name} a folder of {name}?"
                )
        mean = self(batch).mean().item()
        if mean <= HEAVY:
            return []
        return [
            f"the mean weight of the loss is {mean:.3g}: the gradients of so large a loss are "
            "clipped at nearly every step, and all steps then count alike. A temperature above "
            f"{self.temperature:g} or weights normalized by their mean make it smaller"
        ]


def jumps(values: Float[Tensor, "b c H W"], least: float) -> Float[Tensor, "b 1 H W"]:
    """1 on both sides of where a map changes by more than `least` from a pixel to the next.

    In deviations of its middle 80 %; what borders on the unknown (NaN) is no jump.
    """
    known = trimmed_standardized(values)
    across = (known.diff(dim=3).abs() > least).any(dim=1, keepdim=True)  # (b, 1, H, W - 1)
    down = (known.diff(dim=2).abs() > least).any(dim=1, keepdim=True)  # (b, 1, H - 1, W)
    found = F.pad(across, (1, 0)) | F.pad(across, (0, 1))
    return (found | F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1))).float()
