"""One map that guides SG-MIM: what its extractor is given, what its head is asked for, and how
wrong an answer is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, Literal, NamedTuple, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim import losses
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance.extractors import Convolutional, OfClasses, Pointwise, Siamese, Transformer
from sgmim.guidance.pointnet import PointNet
from sgmim.guidance.views import OF_SPACE, Kind, Map, check_ids, drawn, seen_as
from sgmim.layers import PixelHead, patches, take
from sgmim.masking import only
from sgmim.objective import Batch, Pictures

Extractor = Literal["mlp", "patch_merge", "transformer", "siamese", "conv", "pointnet"]
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


@dataclass(frozen=True, kw_only=True)
class Guide:
    """How one map guides. What is left out is as the method's own keywords have it.

    Args:
        channels: of the map; 3 of normals, else 1, if not given.
        extractor: what makes features of the map.
        mlp_ratio: of the extractor "mlp".
        target: what is asked for.
        loss: of it.
        weight: of the loss; 0 leaves the map out.
        standardize_eps: inside the root of the map's deviation.
        classes: how many there are, of a map of class ids; an id beyond counts as unknown.
        confidence: name of a map (1 channel, 0 to 1) that says how much each pixel counts.
        portion: of the squares that are dealt out (share "partition"): 2 has twice as many as 1.
    """

    channels: int | None = None
    extractor: Extractor | None = None
    mlp_ratio: float | None = None
    target: Target | None = None
    loss: Loss | None = None
    weight: float | None = None
    standardize_eps: float | None = None
    classes: int | None = None
    confidence: str | None = None
    portion: float | None = None

    def over(self, usual: "Guide") -> "Guide":
        """This one, and where it says nothing the usual."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(usual, **said)


class View(NamedTuple):
    """What there is of a map in a batch; NaN where it is unknown."""

    given: Map  # to the extractor
    wanted: Map  # of the head
    trust: Float[Tensor, "b 1 H W"] | None  # how much each pixel counts


class Guidance:
    """One map that guides.

    It makes extractor and head and does not keep them: they are parts of the method.

    Args:
        name: of the map.
        options: how it guides; those that every map has are there.
        encoder: that is guided.

    Raises:
        ConfigurationError: options that do not go together.
    """

    def __init__(self, name: str, options: Guide, encoder: Encoder):
        self.name, self.options = name, options
        plain = options.target == "map"
        usual = AUTO.get(name if plain else str(options.target), "l1")
        self.loss_name = usual if options.loss == "auto" else str(options.loss)
        kind = KINDS.get(self.loss_name, "values") if plain else "values"
        self.given: Kind = "coordinates" if options.extractor == "pointnet" else kind
        self.wanted: Kind = kind if plain else cast(Kind, options.target)
        self.channels = options.channels or (3 if name == "normals" else 1)
        self.pixels = gcd(encoder.stride, CLASS_PIXELS) if self.wanted == "classes" else 1
        self._check()

    def _check(self) -> None:
        name, classes = self.name, self.options.classes
        if name in NOT_MAPS:
            raise ConfigurationError(f"{name!r} is no map that can guide")
        if (self.loss_name == "cross_entropy") != bool(classes) or (classes or 1) < 1:
            raise ConfigurationError(
                f"{name} guides by {self.loss_name}, and its classes are {classes}: cross_entropy "
                f"is for class ids and is told how many classes there are, as in "
                f"--method.guides '{{{name}: {{classes: 150}}}}'"
            )
        if classes and self.wanted != "classes":
            raise ConfigurationError(f"{self.wanted} are no classes, which cross_entropy is for")
        if (self.options.portion or 0) <= 0:
            raise ConfigurationError(f"the portion of {name} is above 0: leave it out by weight 0")
        if "camera" in self.needs and (self.channels > 1 or name in AUTO):
            raise ConfigurationError(f"points in space are made of depth, not of {name}")

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it takes from a batch."""
        camera = "camera" if OF_SPACE & {self.given, self.wanted} else None
        named = (self.name, self.options.confidence, camera)
        return tuple(name for name in named if name)

    def extractor(self, encoder: Encoder, keep_hidden: bool) -> nn.Module:
        """What makes features of the map."""
        kind, classes = self.options.extractor, self.options.classes
        channels = OfClasses.WIDTH if classes else self.channels
        made: nn.Module
        if kind == "pointnet":
            return PointNet(encoder)
        if kind == "conv":
            made = Convolutional(encoder, channels)
        elif kind in ("transformer", "siamese"):
            build = Transformer if kind == "transformer" else Siamese
            made = build(encoder, channels, keep_hidden=keep_hidden)
        else:
            ratio = self.options.mlp_ratio if kind == "mlp" else 0.0
            made = Pointwise(encoder, channels, mlp_ratio=cast(float, ratio))
        return OfClasses(classes, made) if classes else made

    def head(self, encoder: Encoder) -> PixelHead:
        """What paints what is wanted."""
        channels = self.options.classes or (self.channels if self.options.target == "map" else 3)
        return PixelHead(encoder.dim, encoder.stride // self.pixels, channels)

    def view(self, batch: Batch) -> View:
        """What is given and wanted."""
        known, camera = batch[self.name], batch.get("camera")
        classes, eps = self.options.classes or 0, cast(float, self.options.standardize_eps)
        made = {
            kind: seen_as(kind, known, camera, classes=classes, eps=eps)
            for kind in {self.given, self.wanted}
        }
        sure = self.options.confidence
        return View(made[self.given], made[self.wanted], batch[sure].float() if sure else None)

    def loss(
        self,
        head: PixelHead,
        features: Float[Tensor, "b m d"],
        view: View,
        cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, ""]:
        """The loss, weighed, of what the head paints in some cells, given their features."""
        painted = head(features).float().unflatten(2, (-1, head.stride**2))
        wanted = self._in(cells, head.stride, view.wanted)
        trust = None if view.trust is None else self._in(cells, head.stride, view.trust)
        return cast(float, self.options.weight) * LOSSES[self.loss_name](painted, wanted, trust)

    def _in(self, cells: Int[Tensor, "b m"], side: int, values: Map) -> Float[Tensor, "b m _ q"]:
        """Some cells of a map, `side` pixels a side; where a class is predicted for many pixels,
        the middle one of these is meant."""
        middle = slice(self.pixels // 2, None, self.pixels)
        squares = patches(values[..., middle, middle], side)
        return take(squares, cells).unflatten(2, (values.shape[1], -1))

    def pictures(
        self,
        head: PixelHead,
        features: Float[Tensor, "b d _ _"],
        view: View,
        shown: Bool[Tensor, "b h w"],
        asked: Bool[Tensor, "b h w"],
    ) -> Pictures:
        """The map, the part that is shown, and the answer in the part that is asked."""
        answer = head.paint(features).float()
        if self.wanted == "classes":
            best = answer.argmax(dim=1, keepdim=True).float()
            answer = F.interpolate(best, scale_factor=float(self.pixels))
        elif self.loss_name == "cosine":
            answer = F.normalize(answer, dim=1)
        given, wanted = drawn(self.given, view.given), drawn(self.wanted, view.wanted)
        named = {self.name: given, f"{self.name}, shown": only(given, shown)}
        if self.given != self.wanted:
            named[f"{self.name}, {self.wanted}"] = wanted
        return named | {f"{self.name}, predicted": only(drawn(self.wanted, answer), asked)}

    def check(self, batch: Batch) -> None:
        """Raise DataError where samples have ids of classes that there are not."""
        if self.options.classes:
            check_ids(self.name, batch[self.name], self.options.classes)


def guiding(
    guides: Mapping[str, Guide] | None, knowledge: str, usual: Guide, encoder: Encoder
) -> list[Guidance]:
    """The maps that guide, or the one that does as usual; without those of no weight.

    Raises:
        ConfigurationError: options of a map that do not go together.
    """
    told = {name: each.over(usual) for name, each in (guides or {knowledge: usual}).items()}
    return [Guidance(name, each, encoder) for name, each in told.items() if each.weight]


def gathered(parts: Mapping[str, nn.Module]) -> nn.Module:
    """The parts of all maps under their names; of a single map that part itself, whose parameters
    are then called as they were when there could be but one."""
    return nn.ModuleDict(parts) if len(parts) > 1 else next(iter(parts.values()))


def own(parts: nn.Module, name: str) -> Any:
    """One map's of what was gathered."""
    return parts[name] if isinstance(parts, nn.ModuleDict) else parts
