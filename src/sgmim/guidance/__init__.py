"""One map that guides SG-MIM: what its extractor is given, beside what its head is asked for
(asked.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance.asked import Ask, Asked
from sgmim.guidance.extractors import Convolutional, OfClasses, Pointwise, Siamese, Transformer
from sgmim.guidance.pointnet import PointNet
from sgmim.guidance.views import Kind, Map, drawn
from sgmim.layers import PixelHead
from sgmim.masking import only
from sgmim.objective import Batch, Pictures

Extractor = Literal["mlp", "patch_merge", "transformer", "siamese", "conv", "pointnet"]


@dataclass(frozen=True, kw_only=True)
class Guide(Ask):
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

    extractor: Extractor | None = None
    mlp_ratio: float | None = None
    portion: float | None = None


class View(NamedTuple):
    """What there is of a map in a batch; NaN where it is unknown."""

    given: Map  # to the extractor
    wanted: Map  # of the head
    trust: Float[Tensor, "b 1 H W"] | None  # how much each pixel counts


class Guidance(Asked):
    """One map that guides, and is asked for.

    It makes extractor and head and does not keep them: they are parts of the method.

    Args:
        name: of the map.
        options: how it guides; those that every map has are there.
        encoder: that is guided.

    Raises:
        ConfigurationError: options that do not go together.
    """

    options: Guide
    told_by = "--method.guides"

    @property
    def given(self) -> Kind:
        """What its extractor is given."""
        return "coordinates" if self.options.extractor == "pointnet" else self.kind

    @property
    def kinds(self) -> set[Kind]:
        """See `Asked`."""
        return {self.given, self.wanted}

    def _check(self) -> None:
        super()._check()
        if (self.options.portion or 0) <= 0:
            raise ConfigurationError(
                f"the portion of {self.name} is above 0: leave it out by weight 0"
            )

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

    def view(self, batch: Batch) -> View:
        """What is given and wanted."""
        made = {kind: self.seen(batch, kind) for kind in self.kinds}
        return View(made[self.given], made[self.wanted], self.trust(batch))

    def loss(
        self,
        head: PixelHead,
        features: Float[Tensor, "b m d"],
        view: View,
        cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, ""]:
        """The loss, weighed, of what the head paints in some cells, given their features."""
        return self.wrong(head, features, view.wanted, view.trust, cells)

    def pictures(
        self,
        head: PixelHead,
        features: Float[Tensor, "b d _ _"],
        view: View,
        shown: Bool[Tensor, "b h w"],
        asked: Bool[Tensor, "b h w"],
    ) -> Pictures:
        """The map, the part that is shown, and the answer in the part that is asked."""
        given, wanted = drawn(self.given, view.given), drawn(self.wanted, view.wanted)
        named = {self.name: given, f"{self.name}, shown": only(given, shown)}
        if self.given != self.wanted:
            named[f"{self.name}, {self.wanted}"] = wanted
        return named | self.answered(head, features, asked)


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
