"""What a few lines of YAML say of a dataset of one's own.

    name: CamVid
    images: "{split}/images"
    labels: {folder: "{split}/labels", ignore: [11]}
    classes: [Sky, Building, Pole, Road, Pavement, Tree, Sign, Fence, Car, Pedestrian, Bicyclist]
    splits: {train: {count: 367}, val: {count: 101}}

docs/datasets.md has more examples.
"""

import os
from dataclasses import dataclass, field
from math import isfinite

from sgmim.errors import ConfigurationError

Color = tuple[int, int, int]  # red, green, blue


@dataclass(frozen=True)
class Labels:
    """Class numbers, or colors that stand for classes."""

    folder: str  # "{split}" stands for the split
    ending: str = ""  # of names, before the suffix: "_gtFine_labelIds"
    first: int = 0  # the label of the first class; those below it are ignored
    ignore: tuple[int, ...] = (255,)  # labels of no class
    # instead of numbers: those of each class; a color that is no class's is none
    colors: dict[str, tuple[Color, ...]] = field(default_factory=dict)

    def __post_init__(self):
        numbers = [*self.ignore, *(n for each in self.colors.values() for n in sum(each, ()))]
        if not all(0 <= number <= 255 for number in numbers):
            raise ConfigurationError("labels and colors are numbers from 0 to 255")


@dataclass(frozen=True)
class Depth:
    """Depth: a stored number / scale is meters."""

    folder: str
    ending: str = ""
    scale: float = 1000.0
    hole: float | None = 0.0  # the stored number that says that nothing is known

    def __post_init__(self):
        if not (isfinite(self.scale) and self.scale > 0):
            raise ConfigurationError(f"the scale of depth is above zero, not {self.scale}")


@dataclass(frozen=True)
class Split:
    """Some of the images: of a folder or of a list, or a share of those in their order."""

    folder: str | None = None  # what "{split}" stands for, if it is not the split's name
    list: str | None = None  # a file: names of images, one a line, with or without their suffix
    pairs: str | None = None  # a file: 'IMAGE TRUTH' a line, as paths; see splits.py
    part: tuple[float, float] = (0.0, 1.0)  # first and last share of them
    count: int | None = None  # how many there are if nothing is missing

    def __post_init__(self):
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise ConfigurationError(f"a part is two shares, 0 <= a < b <= 1: {self.part}")


@dataclass(frozen=True)
class Description:
    """What a file in YAML says of a dataset."""

    name: str
    images: str  # their folder; "{split}" stands for the split
    splits: dict[str, Split]
    labels: Labels | None = None
    depth: Depth | None = None
    classes: tuple[str, ...] = ()  # names, by number
    ending: str = ""  # of the names of images, before the suffix: "_leftImg8bit"
    benchmark: str = ""  # if teachers may have been trained on it, its name in their notes
    license: str = "not told"
    origin: str = "not told"

    def __post_init__(self):
        for path in self._paths():
            if os.path.isabs(path) or os.path.normpath(path).startswith(".."):
                raise ConfigurationError(f"{path!r} leads out of the dataset's folder")
        if (self.labels is None) == (self.depth is None):
            raise ConfigurationError("it has either labels or depth: what is to be predicted")
        if self.labels and not self.names:
            raise ConfigurationError("labels need the names of their classes, in order: 'classes'")
        if self.labels and self.labels.colors and set(self.labels.colors) != set(self.names):
            raise ConfigurationError("'colors' names other classes than 'classes'")

    @property
    def truth(self) -> Labels | Depth:
        truth = self.labels or self.depth
        assert truth is not None, "one of the two is there"
        return truth

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; where only colors are given, in their order."""
        return self.classes or tuple(self.labels.colors if self.labels else ())

    def _paths(self) -> list[str]:
        """All that it says of places: whoever wrote it has no say in what else is read."""
        splits = [
            path for each in self.splits.values() for path in (each.folder, each.list, each.pairs)
        ]
        truths = [truth.folder for truth in (self.labels, self.depth) if truth]
        return [self.images, *truths, *(path for path in splits if path)]
