"""What is done at random to a sample that is trained on, as a function of its key alone.

CutDepth ──► rotation ──► crop, resize, mirror ──► colors ──► policy ──► erasing

Further views of a photograph go the same way, each with a key of its own and without CutDepth.
A second photograph of the scene is cut and colored by itself, but mirrored where the first is: a
scene and its mirror image are two scenes.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from sgmim import draws
from sgmim.data import colors, policies
from sgmim.data.crops import (
    Jitter,
    Piece,
    Size,
    between,
    jittered,
    random_crop,
    random_window,
    turned_over,
)
from sgmim.data.geometry import Crop, Interpolation, cut, padded, parted, rotated, rule
from sgmim.data.images import Sample
from sgmim.data.policies import Erasing
from sgmim.data.views import Views
from sgmim.errors import ConfigurationError, unknown

CUT_DEPTH, ROTATION = 779, 780  # streams of a sample's random numbers
SECOND = 782  # its key is what the second photograph of a sample draws from
CropKind = Literal["resized", "window", "jitter", "whole"]


@dataclass(frozen=True)
class CutDepth:
    """Vertical CutDepth (GLPDepth: Kim et al., 2022, arXiv:2201.07436, section 3.4): from top to
    bottom, a part of the image is painted over with the true depth."""

    probability: float = 0.25
    max_depth: float = 80.0  # meters, painted white; what is unknown is black
    widest: float = 0.75  # share of what lies to the right of its left edge
    wrap: float | None = None  # paint round(wrap * meters) modulo 256 instead. Where depth is
    # stored in 16 bits the authors' code paints these into 8: 256 on KITTI, 1000 on NYU

    def __post_init__(self):
        if not (0 <= self.probability <= 1 and 0 < self.widest <= 1 and self.max_depth > 0):
            raise ConfigurationError(
                f"cut_depth has a probability and a share `widest` from 0 to 1 and a max_depth "
                f"above 0, not {self.probability}, {self.widest} and {self.max_depth}"
            )

    def __call__(self, key: int, sample: Sample) -> Sample:
        chance, left, part = draws.numbers(key, range(3), CUT_DEPTH)
        if chance >= self.probability:
            return sample
        width = sample["image"].shape[-1]
        start = int(left * width)
        columns = slice(start, start + int(max((width - left * width) * part * self.widest, 1)))
        image = sample["image"].clone()
        image[:, :, columns] = self.painted(sample["depth"][:, :, columns])
        return sample | {"image": image}

    def painted(self, depth: Tensor) -> Tensor:
        """Meters as bytes."""
        depth = depth.nan_to_num(0.0, posinf=self.max_depth)
        if self.wrap is not None:
            return (depth * self.wrap).round().remainder(256).byte()
        return (255 * (depth / self.max_depth).clamp(0, 1)).round().byte()


@dataclass(frozen=True)
class Augmentation:
    """How a sample is changed; for what the options mean see Batches.

    Raises:
        ConfigurationError: options that cannot be met.
    """

    crop: CropKind = "resized"
    scale: tuple[float, float] = (0.67, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    short_side: int = 0
    jitter: Jitter = field(default_factory=Jitter)
    flip: float = 0.5
    vertical_flip: float = 0.0
    rotation: float = 0.0
    antialias: bool = True
    cut_depth: CutDepth | None = None
    colors: str = "none"
    policy: str = ""
    erasing: Erasing | None = None
    interpolation: Interpolation = "bilinear"
    normalization: str = "imagenet"
    views: Views = field(default_factory=Views)

    def __post_init__(self):
        if self.colors not in colors.SETS:
            raise unknown("set of colors", self.colors, colors.SETS)
        policies.check(self.policy)
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigurationError(
                f"scale={self.scale} and ratio={self.ratio} are each a lower and an upper bound "
                f"above 0, and no crop is larger than its image (scale 1)"
            )
        if not all(0 <= chance <= 1 for chance in (self.flip, self.vertical_flip)):
            raise ConfigurationError(
                f"flip and vertical_flip are probabilities, from 0 to 1, not {self.flip} and "
                f"{self.vertical_flip}"
            )
        if self.short_side < 0 or not 0 <= self.rotation <= 180:
            raise ConfigurationError(
                f"short_side is in pixels, 0 or more, and rotation in degrees, 0 to 180, not "
                f"{self.short_side} and {self.rotation}"
            )

    def check(self, needs: tuple[str, ...]) -> None:
        """Raise ConfigurationError where what is needed of a sample does not go with this."""
        if self.cut_depth and "depth" not in needs:
            raise ConfigurationError(
                "cut_depth paints depth into images, and there is no depth among what is needed: "
                + ", ".join(needs)
            )
        maps = [name for name in needs if name not in ("image", "label")]
        if self.policy and maps:
            raise ConfigurationError(
                f"the policy {self.policy} turns and shears images, on which {', '.join(maps)} "
                "would not lie any more; leave it out"
            )
        fixed = [name for name in needs if name == "camera" or not _can_rotate(name)]
        if self.rotation and fixed:
            raise ConfigurationError(f"{' and '.join(fixed)} cannot be rotated; leave rotation out")

    def __call__(self, key: int, sample: Sample, size: Size) -> Sample:
        first, second = parted(sample)
        changed = self._changed(key, first, size, key)
        if not second:
            return changed
        other = self._changed(draws.key(key, SECOND), second, size, key)
        return changed | {"second": other["image"]}

    def _changed(self, key: int, sample: Sample, size: Size, mirror: int) -> Sample:
        """One photograph and its maps by a key, mirrored or not by another."""
        if self.crop != "resized" or self.rotation:  # then corners and borders can be unknown
            sample = {name: _floating(name, value) for name, value in sample.items()}
        if self.cut_depth and "depth" in sample:
            sample = self.cut_depth(key, sample)
        chance, angle = draws.numbers(key, range(2), ROTATION)
        if self.rotation and chance < 0.5:
            degrees = between(-self.rotation, self.rotation, angle)
            sample = rotated(sample, degrees, self.normalization)
        piece = self.piece(key, sample, size, mirror)
        sample = cut(
            sample, piece.crop, piece.size,
            antialias=self.antialias, interpolation=self.interpolation,
        )  # fmt: skip
        sample = sample | {"image": self._recolored(key, sample["image"])}
        return padded(sample, size, self.normalization)

    def _recolored(self, key: int, image: Tensor) -> Tensor:
        """A crop in other colors, changed by a policy, and maybe with a hole."""
        image = colors.changed(key, image, self.colors)
        image = policies.changed(key, image, self.policy, self.normalization, self.interpolation)
        return self.erasing(key, image, self.normalization) if self.erasing else image

    def further(self, key: int, image: Tensor, size: Size, needs: Collection[str]) -> Sample:
        """The other views of a whole image that are needed: "view", as large, and small "parts"."""
        views, found = self.views, {}
        if "view" in needs:
            other = replace(self, colors=views.colors, cut_depth=None)
            found["view"] = other._seen(draws.key(key, 1), image, size)
        if "parts" in needs:
            part = replace(
                self, crop="resized", scale=views.part_scale, colors=views.part_colors,
                cut_depth=None,
            )  # fmt: skip
            keys = (draws.key(key, 2 + number) for number in range(views.parts))
            found["parts"] = torch.stack([part._seen(one, image, views.small) for one in keys])
        return found

    def _seen(self, key: int, image: Tensor, size: Size) -> Tensor:
        return self(key, {"image": image}, size)["image"]

    def piece(self, key: int, sample: Sample, size: Size, mirror: int | None = None) -> Piece:
        """Which part of a sample is trained on; whether it is mirrored is drawn from a key of its
        own where one is given."""
        mirror = key if mirror is None else mirror
        height, width = sample["image"].shape[-2:]
        if self.crop == "window":
            piece = random_window(key, height, width, size, self.short_side)
        elif self.crop == "jitter":
            piece = jittered(key, height, width, size, self.jitter, sample.get("classes"))
        elif self.crop == "whole":
            piece = Piece(Crop(0, 0, height, width), size)
        else:
            piece = Piece(random_crop(key, height, width, scale=self.scale, ratio=self.ratio), size)
        return piece._replace(crop=turned_over(piece.crop, mirror, self.flip, self.vertical_flip))


def _can_rotate(name: str) -> bool:
    return rule(name).interpolation != "points" and not rule(name).mirrored


def _floating(name: str, value: Tensor) -> Tensor:
    """Maps as floats: kept as bytes, they are shares of 255."""
    return value / 255 if value.dtype == torch.uint8 and name != "image" else value
