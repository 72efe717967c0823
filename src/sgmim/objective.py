"""What a training run optimizes: the contract everything else hangs on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.masking import only

# The named tensors of one batch. "image" is (b, 3, H, W), normalized; every other map ("depth",
# "edges") is (b, c, H, W), float, lies on the image pixel for pixel, and is NaN where nothing is
# known; "label" (b,), int64, is the class of an image. "key" (b,) is what each sample's random
# numbers come from (draws.py). Where images are mixed, "other" (b,) is the class of the image that
# is mixed in, and "share" (b,) that of the image's own class.
# Three names are images that do not lie on it: "view" (b, 3, H, W), another random crop of the same
# photograph; "parts" (b, n, 3, h, w), small crops of it; "second" (b, 3, H, W), another photograph
# of the same scene.
Batch = dict[str, Tensor]

# Named scalars. Training minimizes their sum, so an objective weighs them itself.
Losses = dict[str, Tensor]

# Named images and maps as a reader would see them, each (b, 3, H, W) or (b, c, H, W), in the units
# of the batch; NaN is drawn as nothing.
Pictures = dict[str, Tensor]


@dataclass(frozen=True)
class Painting:
    """An image that was seen in part, and what was painted of it, in the units of the batch."""

    image: Float[Tensor, "b c H W"]  # as it is
    hidden: Bool[Tensor, "b h w"]  # its patches that were not seen
    painted: Float[Tensor, "b c H W"]  # NaN where nothing is painted, which is where it was seen
    is_measured: bool = True  # or is it painted in colors that only the image itself can tell

    @property
    def seen(self) -> Float[Tensor, "b c H W"]:
        """The part of the image that was seen, NaN elsewhere."""
        return only(self.image, ~self.hidden)

    @property
    def filled(self) -> Float[Tensor, "b c H W"]:
        """That part, with the rest painted."""
        return self.seen.where(self.seen.isfinite(), self.painted)

    def pictures(self) -> Pictures:
        return {"image": self.image, "image, hidden": self.seen, "image, painted": self.filled}


# What is to be done where the data lacks something; for any other map it is HINT.
HINT = (
    "make the maps with 'sgmim knowledge NAME IMAGES MAPS' and give their folder as "
    "--{part}.maps.{name} MAPS"
)
HINTS = {
    "second": "give pairs of photographs of one scene as --{part}.pairs, or made-up scenes as "
    "--{part}.scenes; two crops of one photograph show nothing of a scene's shape",
    "label": "where each image is in a folder with the name of its class, say --{part}.labels "
    "folders; or give a dataset that has labels: --{part}.dataset imagenet, cifar10 or cifar100",
}


@dataclass(frozen=True)
class Moment:
    """Where a run is as a step begins."""

    step: int  # of the optimizer, from 0
    steps: int  # of the whole run
    epoch: float  # passes over the data so far


class Objective(nn.Module):
    """Turns a batch into losses. Pre-training methods and downstream tasks are both objectives."""

    needs: tuple[str, ...] = ("image",)  # names of the maps it must be given
    paints_from: tuple[str, ...] = ()  # names of what it paints an image from, if it paints any
    limits: Mapping[str, int] = MappingProxyType({})  # how many classes maps of them may have
    encoder: Encoder  # what outlives the run: exactly the weights that transfer
    class_names: tuple[str, ...] = ()  # where the data tell them: for pictures alone

    def forward(self, batch: Batch) -> Losses:
        raise NotImplementedError

    def pictures(self, batch: Batch) -> Pictures:
        """What it sees and what it makes of it, for people to look at.

        It is called on one process alone, unless the model is shared among several.
        """
        raise NotImplementedError

    def paint(self, batch: Batch) -> Painting:
        """The image as it paints it, from `paints_from` and without what is hidden.

        Raises:
            ConfigurationError: it paints none.
        """
        raise ConfigurationError(f"{type(self).__name__} paints no images")

    def begin(self, moment: Moment) -> None:
        """Told before every step of a run whose length is known: what changes with time (a
        temperature, the momentum of a teacher) is to be that of this step.

        Numbers that `forward` uses are kept in buffers that are not saved, so that nothing is
        compiled anew when they change.
        """

    def follow(self, good: Bool[Tensor, ""]) -> None:
        """Told after every step whether it was good: what follows the weights comes closer, or
        stays where it is. Nobody waits for the answer; see ema.approach."""

    def warnings(self, batch: Batch) -> list[str]:
        """What is to be told before the first step, a line each, in view of a first batch.

        Raises:
            DataError: the maps cannot be what they are called.
        """
        return []

    def no_decay(self) -> set[str]:
        """Names of the tokens, positions and scales that weight decay spares."""
        return {
            f"{part}.{name}"
            for part, module in self.named_modules()
            if part and hasattr(module, "no_decay")
            for name in module.no_decay()
        }

    def check(self, has: set[str], part: str = "data") -> None:
        """Raise ConfigurationError where the data lacks a map that is needed.

        `part` is what the options of that data are called by: "data", or "test".
        """
        check_has(type(self).__name__, self.needs, has, part)


def check_has(who: str, needs: Iterable[str], has: set[str], part: str = "data") -> None:
    """Raise ConfigurationError, with what to do, where data lacks something that `who` needs; its
    options are called by `part`."""
    if missing := [name for name in needs if name not in has]:
        hint = HINTS.get(missing[0], HINT).format(part=part, name=missing[0])
        raise ConfigurationError(
            f"{who} needs {' and '.join(missing)}, but the data has only "
            f"{', '.join(sorted(has))}; {hint}"
        )


@runtime_checkable
class Meter(Protocol):
    """Gathers a score over many batches."""

    needs: tuple[str, ...]  # of a batch, beyond what the task needs
    totals: Tensor  # all that it has seen: to be added up over processes
    rising: tuple[str, ...]  # its scores of which more is better

    def update(self, prediction: Tensor, batch: Batch) -> None: ...
    def results(self) -> dict[str, float]: ...
    def protocol(self) -> dict[str, Any]: ...  # how the score was made


class Task(Objective):
    """What an encoder is good for: an objective that also predicts and is scored."""

    metrics: ClassVar[tuple[str, ...]]  # the names of its scores, the headline first
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # options of a run of it

    def predict(self, image: Float[Tensor, "b 3 H W"]) -> Tensor:
        raise NotImplementedError

    def meter(self, **options: Any) -> Meter:
        """What scores predictions; `options` of it take the place of the task's own."""
        raise NotImplementedError
