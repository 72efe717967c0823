"""One of the maps that MultiMAE is shown parts of and asked for the rest: what its numbers are, and
how wrong an answer is."""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd, inf
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import losses
from sgmim.adapters import InputAdapter, OutputAdapter
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance.asked import AUTO, CLASS_PIXELS, KINDS
from sgmim.guidance.views import Map, check_ids, drawn, seen_as
from sgmim.layers import patches
from sgmim.losses import standardized_patches
from sgmim.masking import only
from sgmim.objective import Batch, Pictures
from sgmim.weighting import DETECTORS

Loss = Literal["auto", "mse", "l1", "ssi", "cosine", "cross_entropy"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": losses.mse,
    "l1": losses.l1,
    "ssi": losses.ssi,
    "cosine": losses.cosine,
    "cross_entropy": losses.cross_entropy,
}
KEYPOINTS = (*DETECTORS, *(f"{name}_rings" for name in DETECTORS))  # 0 or 1, mostly 0
EPS = 1e-6  # of standardization


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How MultiMAE takes a map.

    Args:
        channels: of the map; 3 of normals, else 1, if not given.
        classes: how many there are, of a map of class ids; an id beyond counts as unknown.
        class_dim: numbers that stand for a class as it goes in.
        class_pixels: a side of the square that goes in and comes out as one class.
        standardize: by the mean and deviation of the middle 80 % (losses.trimmed_standardized); if
            not said, all but directions, classes and keypoints.
        loss: of what is painted (losses.py). "auto": "cross_entropy" for classes, "cosine" for
            normals, "mse" for keypoints, else "l1".
        weight: of the loss; with 0 the map is shown, but not asked for.
        alpha: of its share of what is visible; the method's, if not given.
    """

    channels: int | None = None
    classes: int | None = None
    class_dim: int = 64
    class_pixels: int = CLASS_PIXELS
    standardize: bool | None = None
    loss: Loss = "auto"
    weight: float = 1.0
    alpha: float | None = None


class Modality:
    """The image or a map. It makes adapters and does not keep them: they are parts of the method.

    Args:
        name: in a batch.
        options: how it is taken.
        encoder: that it is shown to.
        normalized: ask for every patch in its own scale, as MAE does (losses.py).

    Raises:
        ConfigurationError: options that do not go together.
    """

    def __init__(
        self, name: str, options: MapOptions, encoder: Encoder, *, normalized: bool = False
    ):
        self.name, self.options, self.normalized = name, options, normalized
        self.title = f"normalized_{name}" if normalized else name  # of what is asked
        self.classes, self.weight = options.classes or 0, options.weight
        self.loss_name = self._usual() if options.loss == "auto" else options.loss
        self.kind = KINDS.get(self.loss_name, "values")
        self.channels = options.channels or (3 if name == "normals" else 1)
        self._check()
        self.pixels = gcd(encoder.patch, options.class_pixels) if self.classes else 1
        self.side = encoder.patch // self.pixels  # cells of the map a side of one patch

    @classmethod
    def of_image(cls, encoder: Encoder, *, weight: float, normalized: bool = False) -> "Modality":
        """The image: its pixels as they are, or in the scale of their patch; squared error."""
        options = MapOptions(
            channels=encoder.channels, standardize=False, loss="mse", weight=weight
        )
        return cls("image", options, encoder, normalized=normalized)

    def _usual(self) -> str:
        if self.classes:
            return "cross_entropy"
        if self.name in KEYPOINTS:
            return "mse"
        return "cosine" if self.name == "normals" else "l1"

    def _check(self) -> None:
        name, told = self.name, self.options
        is_of_ids = self.loss_name == "cross_entropy"
        is_called_so = AUTO.get(name) == "cross_entropy"
        if is_of_ids != bool(told.classes) or is_called_so > is_of_ids or self.classes < 0:
            raise ConfigurationError(
                f"{name} is asked for by {self.loss_name}, and its classes are {told.classes}: a "
                f"map of class ids, and no other, is told how many there are, as in --method.maps "
                f"'{{{name}: {{classes: 133}}}}'"
            )
        if not 0 <= told.weight < inf or min(told.class_dim, told.class_pixels, self.channels) < 1:
            raise ConfigurationError(
                f"of {name}, weight is 0 or more, channels, class_dim and class_pixels are 1 or "
                f"more, not {told.weight:g}, {self.channels}, {told.class_dim} and "
                f"{told.class_pixels}"
            )

    def input_adapter(self, encoder: Encoder) -> InputAdapter:
        """What the encoder is shown it by."""
        classes, dim = self.classes, self.options.class_dim
        return InputAdapter(
            encoder, self.channels, pixels=self.pixels, classes=classes, class_dim=dim
        )

    def output_adapter(self, encoder: Encoder, **options: Any) -> OutputAdapter:
        """What paints it."""
        channels = self.classes or self.channels
        return OutputAdapter(encoder, channels=channels, pixels=self.pixels, **options)

    def values(self, batch: Batch) -> Map:
        """Its numbers, NaN where they are unknown. Where one class stands for several pixels, the
        middle one of these is meant."""
        known, said = batch[self.name], self.options.standardize
        if self.kind == "values" and not (self.name not in KEYPOINTS if said is None else said):
            return known.float()
        values = seen_as(self.kind, known, None, classes=self.classes, eps=EPS)
        middle = slice(self.pixels // 2, None, self.pixels)
        return values[..., middle, middle]

    def loss(
        self, painted: Float[Tensor, "b n p"], values: Map, asked: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, ""]:
        """The loss, weighed, of what is painted in the patches that are asked for, or in all.

        An image of which nothing is asked counts, with no error: the authors leave it out of the
        mean, by which the losses of others grow, and their gradient is then NaN.
        """
        wanted = patches(values, self.side)
        if self.normalized:
            wanted = standardized_patches(wanted)
        if asked is not None:
            wanted = wanted.where(asked[..., None], torch.nan)
        cells = (-1, self.side**2)  # channels, cells of the map in a patch
        compare = LOSSES[self.loss_name]
        return self.weight * compare(
            painted.float().unflatten(2, cells), wanted.unflatten(2, cells)
        )

    def pictures(
        self, values: Map, hidden: Bool[Tensor, "b h w"], painted: Float[Tensor, "b n p"] | None
    ) -> Pictures:
        """All of it, the part that is visible, and that part with the rest painted, if it is."""
        shown = self._drawn(values)
        seen = only(shown, ~hidden)
        named = {self.name: shown, f"{self.name}, hidden": seen}
        if painted is None:
            return named
        answer = painted.float().transpose(1, 2).unflatten(2, hidden.shape[1:])
        answer = F.pixel_shuffle(answer, self.side)
        if self.classes:
            answer = answer.argmax(dim=1, keepdim=True).float()
        elif self.kind == "directions":
            answer = F.normalize(answer, dim=1)
        return named | {f"{self.name}, painted": seen.where(seen.isfinite(), self._drawn(answer))}

    def _drawn(self, values: Map) -> Float[Tensor, "b _ _ _"]:
        """For people, pixel for pixel on the image."""
        return F.interpolate(drawn(self.kind, values), scale_factor=float(self.pixels))

    def check(self, batch: Batch) -> None:
        """Raise DataError where samples have ids of classes that there are not."""
        if self.classes:
            check_ids(self.name, batch[self.name], self.classes)
