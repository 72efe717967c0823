"""What classification is trained with besides crops and mirrors: policies of augmentation, which
also turn and shear an image, and rectangles that are erased. For images without maps.

Both are timm's and torchvision's own, made a function of the sample's key.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jaxtyping import UInt8
from timm.data import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import TrivialAugmentWide
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from sgmim import draws
from sgmim.data.geometry import Interpolation, mean_color, normalize, unnormalize
from sgmim.errors import ConfigurationError

POLICY, ERASING = 784, 785  # their keys are what a sample draws from
TRIVIAL = "trivial"


@dataclass(frozen=True)
class Erasing:
    """A rectangle of an image painted over (Zhong et al., 2017, arXiv:1708.04896).

    "noise" is that of MAE and SimMIM, timm's: normal noise of the colors as they are normalized,
    here rounded to bytes and cut off where no color is; "black" is torchvision's, as KAMIM has it.
    """

    probability: float = 0.25
    fill: Literal["noise", "black"] = "noise"

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"erasing.probability is from 0 to 1, not {self.probability}")

    def __call__(
        self, key: int, image: UInt8[Tensor, "3 H W"], normalization: str
    ) -> UInt8[Tensor, "3 H W"]:
        if self.fill == "black":  # torchvision's default areas and shapes
            erase = RandomErasing(self.probability, 0.02, 0.33, 0.3, 3.3, device="cpu")
            with draws.borrowed(draws.key(key, ERASING)):
                return erase(image.clone())
        erase = RandomErasing(self.probability, mode="pixel", device="cpu")
        colors = normalize(image[None], normalization)[0]
        with draws.borrowed(draws.key(key, ERASING)):
            colors = erase(colors)
        return (255 * unnormalize(colors[None], normalization)[0]).round_().clamp_(0, 255).byte()


def check(policy: str) -> None:
    """Raise ConfigurationError where a policy is none."""
    if policy not in ("", TRIVIAL) and not policy.startswith("rand"):
        raise ConfigurationError(
            f"a policy is timm's RandAugment, as rand-m9-mstd0.5-inc1, or {TRIVIAL}, torchvision's "
            f"TrivialAugmentWide, not {policy!r}"
        )
    try:
        _policy(policy, 224, "imagenet", "bilinear")
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{policy!r} is no policy of timm's: {error}") from error


def changed(
    key: int,
    image: UInt8[Tensor, "3 H W"],
    policy: str,
    normalization: str,
    interpolation: Interpolation,
) -> UInt8[Tensor, "3 H W"]:
    """An image changed by a policy of that name, drawn from its key alone."""
    if not policy:
        return image
    change = _policy(policy, min(image.shape[1:]), normalization, interpolation)
    with draws.borrowed(draws.key(key, POLICY)):
        if policy == TRIVIAL:
            return change(image)
        return pil_to_tensor(change(to_pil_image(image)))


@cache
def _policy(policy: str, side: int, normalization: str, interpolation: Interpolation) -> Any:
    if policy == TRIVIAL:
        return TrivialAugmentWide(interpolation=InterpolationMode.NEAREST)  # its default
    if not policy:
        return None
    return rand_augment_transform(
        policy,
        {
            "translate_const": int(side * 0.45),  # as timm.data.create_transform says
            "img_mean": tuple(mean_color(normalization).tolist()),
            "interpolation": getattr(InterpolationMode, interpolation.upper()),
        },
    )
