"""A dataset of one's own: folders of images and their truth, told of in a few lines of YAML.

    name: CamVid
    images: "{split}/images"
    labels: {folder: "{split}/labels", ignore: [11]}
    classes: [Sky, Building, Pole, Road, Pavement, Tree, Sign, Fence, Car, Pedestrian, Bicyclist]
    splits: {train: {count: 367}, val: {count: 101}}

docs/datasets.md tells all that can be said.
"""

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data import decoding, stored
from sgmim.data.datasets.base import MAX_PIXELS, Dataset, read_labels, to_classes
from sgmim.data.listing import files_below
from sgmim.data.splits import Folder, Found
from sgmim.errors import ConfigurationError, DataError, FileError

Color = tuple[int, int, int]  # red, green, blue


@dataclass(frozen=True)
class Labels:
    """Class numbers, or colors that stand for classes."""

    folder: str  # "{split}" stands for the split
    ending: str = ""  # of names, before the suffix: "_gtFine_labelIds"
    first: int = 0  # the label of the first class; those below it are ignored
    ignore: tuple[int, ...] = (255,)  # labels of no class
    colors: dict[str, tuple[Color, ...]] = field(
        default_factory=dict
    )  # of each class; others: none


@dataclass(frozen=True)
class Depth:
    """Depth: a stored number / scale is meters."""

    folder: str
    ending: str = ""
    scale: float = 1000.0
    hole: float | None = 0.0  # the stored number that says that nothing is known


@dataclass(frozen=True)
class Split:
    """Some of the images: those of a folder, of a list, of a share in the order of their names."""

    folder: str | None = None  # what "{split}" stands for, if it is not the split's name
    list: str | None = None  # a file: names of images, one a line, with or without their suffix
    part: tuple[float, float] = (0.0, 1.0)  # first and last share of them
    count: int | None = None  # how many there are if nothing is missing


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
        if (self.labels is None) == (self.depth is None):
            raise ConfigurationError("it has either labels or depth: what is to be predicted")
        if self.labels and not (self.classes or self.labels.colors):
            raise ConfigurationError("labels need the names of their classes, in order: 'classes'")
        if self.labels and self.labels.colors and set(self.labels.colors) != set(self.names):
            raise ConfigurationError("'colors' names other classes than 'classes'")
        if self.depth and not (isfinite(self.depth.scale) and self.depth.scale > 0):
            raise ConfigurationError(f"the scale of depth is above zero, not {self.depth.scale}")
        for split in self.splits.values():
            if not 0 <= split.part[0] < split.part[1] <= 1:
                raise ConfigurationError(f"a part is two shares, 0 <= a < b <= 1: {split.part}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; where only colors are given, in their order."""
        return self.classes or tuple(self.labels.colors if self.labels else ())


class Described(Dataset):
    """The images and truth that a description tells of.

    Args:
        description: what its file says.
        root: where its folders begin.
        split: one of those it names.

    Raises:
        ConfigurationError: it has no such split.
        DataError, FileError: files are not as told.
    """

    def __init__(self, description: Description, root: Path, split: str):
        self.description, self.classes = description, description.names
        self.title, self.benchmark = description.name, description.benchmark
        self.license, self.origin = description.license, description.origin
        self.truth = "classes" if description.labels else "depth"
        self.splits = tuple(description.splits)
        self.check_split(split)
        told = description.splits[split]
        super().__init__(root, split, self._found(Folder(root), split, told), told.count)

    def read_truth(self, index: int) -> Float[Tensor, "1 H W"]:
        path, depth, labels = (
            self.truth_path(index),
            self.description.depth,
            self.description.labels,
        )
        if depth:
            return stored.read_map(path, scale=depth.scale, hole=depth.hole, max_pixels=MAX_PIXELS)
        assert labels is not None, "a description has one of the two"
        if labels.colors:
            return self._by_color(path, labels.colors)
        ignored = torch.tensor([label for label in labels.ignore if label < 256], dtype=torch.uint8)
        return to_classes(
            read_labels(path), len(self.classes), path, first=labels.first, ignored=ignored
        )

    def _found(self, folder: Folder, split: str, told: Split) -> Found:
        """The samples of a split: an image and its truth have one name, but for their endings."""
        truth = self.description.labels or self.description.depth
        assert truth is not None, "a description has one of the two"
        name = told.folder or split
        images = _by_stem(folder, self.description.images.replace("{split}", name),
                          self.description.ending, decoding.SUFFIXES)  # fmt: skip
        truths = _by_stem(
            folder, truth.folder.replace("{split}", name), truth.ending, stored.SUFFIXES
        )
        stems = sorted(images) if told.list is None else _listed(folder.root / told.list)
        first, last = (round(share * len(stems)) for share in told.part)
        found = Found()
        for stem in stems[first:last]:
            if stem in images and stem in truths:
                found.pairs.append((images[stem], truths[stem]))
            else:
                found.missing.append(f"{'truth' if stem in images else 'image'} of {stem}")
        return found

    def _by_color(self, path: Path, colors: dict[str, tuple[Color, ...]]) -> Float[Tensor, "1 H W"]:
        """Class numbers of the colors of a picture, NaN where a color is no class's."""
        picture = decoding.read_image(path, MAX_PIXELS)
        classes = torch.full((1, *picture.shape[1:]), torch.nan)
        for number, name in enumerate(self.classes):
            for color in colors[name]:
                alike = picture == torch.tensor(color, dtype=torch.uint8)[:, None, None]
                classes[alike.all(0, keepdim=True)] = number
        return classes


def _by_stem(folder: Folder, inside: str, ending: str, suffixes: frozenset[str]) -> dict[str, str]:
    """The files of a folder, at any depth, by the path from there without ending and suffix.

    Raises:
        FileError: there is no such folder.
        DataError: two files would have one name.
    """
    if not folder.names(inside):
        raise FileError(f"there is no folder {folder.root / inside}, or nothing in it")
    found: dict[str, str] = {}
    for path in files_below(folder.root / inside, suffixes):
        stem = path.rpartition(".")[0]
        if not stem.endswith(ending):
            continue
        if stem.removesuffix(ending) in found:
            raise DataError(f"two files in {folder.root / inside} are called {stem}; remove one")
        found[stem.removesuffix(ending)] = f"{inside}/{path}"
    return found


def _listed(path: Path) -> list[str]:
    """The names of a list, without the suffixes of files."""
    if not path.is_file():
        raise FileError(f"there is no list {path}")
    with decoding.named(path):
        lines = [
            line.split()[0] for line in path.read_text("utf-8-sig").splitlines() if line.strip()
        ]
    suffixes = decoding.SUFFIXES | stored.SUFFIXES
    stems = (line.rpartition(".") for line in lines)
    return [
        stem if f".{suffix}".lower() in suffixes else line
        for line, (stem, _, suffix) in zip(lines, stems, strict=True)
    ]
