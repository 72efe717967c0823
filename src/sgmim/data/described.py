"""A dataset of one's own: folders of images and their truth, as a description tells of them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data import decoding, stored
from sgmim.data.datasets.base import MAX_PIXELS, Dataset, read_labels, to_classes
from sgmim.data.descriptions import Color, Depth, Description, Split
from sgmim.data.listing import files_below
from sgmim.data.splits import Folder, Found, find_listed
from sgmim.errors import DataError, FileError

T = TypeVar("T")


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
        found = self._found(Folder(root), told, told.folder or split)
        super().__init__(root, split, found, told.count)

    def read_truth(self, index: int) -> Float[Tensor, "1 H W"]:
        path, truth = self.truth_path(index), self.description.truth
        if isinstance(truth, Depth):
            depth = stored.read_map(path, scale=truth.scale, hole=truth.hole, max_pixels=MAX_PIXELS)
            if len(depth) != 1:
                raise DataError(f"{path} has {len(depth)} channels; depth has one")
            return depth
        if truth.colors:
            return _by_color(path, [truth.colors[name] for name in self.classes])
        ignored = torch.tensor(truth.ignore, dtype=torch.uint8)
        labels, count = read_labels(path), len(self.classes)
        return to_classes(labels, count, path, first=truth.first, ignored=ignored)

    def _found(self, folder: Folder, told: Split, name: str) -> Found:
        """The samples of a split: an image and its truth have one name, but for their endings."""
        truth = self.description.truth
        places = [each.replace("{split}", name) for each in (self.description.images, truth.folder)]
        if told.pairs:
            tops = [(place, "") for place in places]
            found = find_listed(folder, folder.root / told.pairs, *tops)
            return replace(found, pairs=_share(found.pairs, told.part))
        images = _by_stem(folder, places[0], self.description.ending, decoding.SUFFIXES)
        truths = _by_stem(folder, places[1], truth.ending, stored.SUFFIXES)
        stems, found = _listed(folder.root / told.list) if told.list else sorted(images), Found()
        for stem in _share(stems, told.part):
            if stem in images and stem in truths:
                found.pairs.append((images[stem], truths[stem]))
            else:
                found.missing.append(f"{'truth' if stem in images else 'image'} of {stem}")
        return found


def _share(items: Sequence[T], part: tuple[float, float]) -> list[T]:
    first, last = (round(share * len(items)) for share in part)
    return list(items[first:last])


def _by_color(path: Path, colors: Sequence[Sequence[Color]]) -> Float[Tensor, "1 H W"]:
    """Class numbers of the colors of a picture, NaN where a color is no class's."""
    picture = decoding.read_image(path, MAX_PIXELS)
    classes = torch.full((1, *picture.shape[1:]), torch.nan)
    for number, color in ((n, color) for n, each in enumerate(colors) for color in each):
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
    suffixes = decoding.SUFFIXES | stored.SUFFIXES
    with decoding.named(path):
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    split = [os.path.splitext(line) for line in lines if line]
    return [stem if end.lower() in suffixes else stem + end for stem, end in split]
