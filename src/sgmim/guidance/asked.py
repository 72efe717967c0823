"""One map that a head is asked for: what its numbers are, and how wrong an answer is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Literal, TypeVar, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sgmim import losses
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance.views import OF_SPACE, Kind, Map, check_ids, drawn, seen_as
from sgmim.layers import PixelHead, patches, take
from sgmim.masking import only
from sgmim.objective import Batch, Pictures

Target = Literal["map", "coordinates", "normals"]
Loss = Literal["auto", "l1", "ssi", "cosine", "cross_entropy"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": losses.l1,
    "ssi": losses.ssi,
    "cosine": losses.cosine,
    "cross_entropy": losses.cross_entropy,
}
AUTO = {"normals": "cosine", "classes": "cross_entropy", "segments": "cross_entropy"}  # else l1
# of maps, by their loss; else values
KINDS: dict[str, Kind] = {"cosine": "directions", "cross_entropy": "classes"}
CLASS_PIXELS = 4  # a side of the square for which one class is predicted, as in MultiMAE
NOT_MAPS = ("image", "key", "camera")  # what a batch has beside maps

Told = TypeVar("Told", bound="Ask")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How one map is asked for. What is left out is as usual for the method.

    Args:
        channels: of the map; 3 of normals, else 1, if not given.
        target: what is asked for.
        loss: of it.
        weight: of the loss; 0 leaves the map out.
        standardize_eps: inside the root of the map's deviation.
        classes: how many there are, of a map of class ids; an id beyond counts as unknown.
        confidence: name of a map (1 channel, 0 to 1) that says how much each pixel counts.
    """

    channels: int | None = None
    target: Target | None = None
    loss: Loss | None = None
    weight: float | None = None
    standardize_eps: float | None = None
    classes: int | None = None
    confidence: str | None = None

    def over(self: Told, usual: Told) -> Told:
        """This one, and where it says nothing the usual."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(usual, **said)


USUAL = Ask(target="map", loss="auto", weight=1.0, standardize_eps=1e-6)


class Asked:
    """One map that a head is asked for.

    It makes the head and does not keep it: that is a part of the method.

    Args:
        name: of the map.
        options: how it is asked for; those that every map has are there.
        encoder: whose features the head is given.

    Raises:
        ConfigurationError: options that do not go together.
    """

    told_by = "--method.maps"  # on the command line

    def __init__(self, name: str, options: Ask, encoder: Encoder):
        self.name, self.options = name, options
        plain = options.target == "map"
        usual = AUTO.get(name if plain else str(options.target), "l1")
        self.loss_name = usual if options.loss == "auto" else str(options.loss)
        self.kind: Kind = KINDS.get(self.loss_name, "values") if plain else "values"  # of the map
        self.wanted: Kind = self.kind if plain else cast(Kind, options.target)
        self.channels = options.channels or (3 if name == "normals" else 1)
        self.pixels = gcd(encoder.stride, CLASS_PIXELS) if self.wanted == "classes" else 1
        self._check()

    def _check(self) -> None:
        name, classes = self.name, self.options.classes
        if name in NOT_MAPS:
            raise ConfigurationError(f"{name!r} is no map that can guide or be asked for")
        if (self.loss_name == "cross_entropy") != bool(classes) or (classes or 1) < 1:
            raise ConfigurationError(
                f"{name} is asked for by {self.loss_name}, and its classes are {classes}: "
                f"cross_entropy is for class ids and is told how many classes there are, as in "
                f"{self.told_by} '{{{name}: {{classes: 150}}}}'"
            )
        if classes and self.wanted != "classes":
            raise ConfigurationError(f"{self.wanted} are no classes, which cross_entropy is for")
        if "camera" in self.needs and (self.channels > 1 or name in AUTO):
            raise ConfigurationError(f"points in space are made of depth, not of {name}")

    @property
    def kinds(self) -> set[Kind]:
        """The kinds of numbers that are made of the map."""
        return {self.wanted}

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it takes from a batch."""
        camera = "camera" if OF_SPACE & self.kinds else None
        named = (self.name, self.options.confidence, camera)
        return tuple(name for name in named if name)

    def head(self, encoder: Encoder) -> PixelHead:
        """What paints what is wanted."""
        channels = self.options.classes or (self.channels if self.options.target == "map" else 3)
        return PixelHead(encoder.dim, encoder.stride // self.pixels, channels)

    def seen(self, batch: Batch, kind: Kind) -> Map:
        """The map as one kind of numbers, NaN where it is unknown."""
        classes, eps = self.options.classes or 0, cast(float, self.options.standardize_eps)
        return seen_as(kind, batch[self.name], batch.get("camera"), classes=classes, eps=eps)

    def trust(self, batch: Batch) -> Float[Tensor, "b 1 H W"] | None:
        """How much each pixel counts, where a map says so."""
        return batch[self.options.confidence].float() if self.options.confidence else None

    def wrong(
        self,
        head: PixelHead,
        features: Float[Tensor, "b m d"],
        wanted: Map,
        trust: Float[Tensor, "b 1 H W"] | None,
        cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, ""]:
        """The loss, weighed, of what the head paints in some cells, given their features."""
        painted = head(features).float().unflatten(2, (-1, head.stride**2))
        counts = None if trust is None else self._in(cells, head.stride, trust)
        found = LOSSES[self.loss_name](painted, self._in(cells, head.stride, wanted), counts)
        return cast(float, self.options.weight) * found

    def _in(self, cells: Int[Tensor, "b m"], side: int, values: Map) -> Float[Tensor, "b m _ q"]:
        """Some cells of a map, `side` pixels a side; where a class is predicted for many pixels,
        the middle one of these is meant."""
        middle = slice(self.pixels // 2, None, self.pixels)
        squares = patches(values[..., middle, middle], side)
        return take(squares, cells).unflatten(2, (values.shape[1], -1))

    def answered(
        self, head: PixelHead, features: Float[Tensor, "b d _ _"], asked: Bool[Tensor, "b h w"]
    ) -> Pictures:
        """What the head answers in the part that is asked, for people."""
        answer = head.paint(features).float()
        if self.wanted == "classes":
            best = answer.argmax(dim=1, keepdim=True).float()
            answer = F.interpolate(best, scale_factor=float(self.pixels))
        elif self.loss_name == "cosine":
            answer = F.normalize(answer, dim=1)
        return {f"{self.name}, predicted": only(drawn(self.wanted, answer), asked)}

    def check(self, batch: Batch) -> None:
        """Raise DataError where samples have ids of classes that there are not."""
        if self.options.classes:
            check_ids(self.name, batch[self.name], self.options.classes)


def asking(maps: Mapping[str, Ask], encoder: Encoder) -> list[Asked]:
    """The maps that are asked for, without those of no weight.

    Raises:
        ConfigurationError: options of a map that do not go together.
    """
    told = {name: each.over(USUAL) for name, each in maps.items()}
    return [Asked(name, each, encoder) for name, each in told.items() if each.weight]
