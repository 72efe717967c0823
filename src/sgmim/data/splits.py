"""Lists of images and their truth, as benchmarks publish them, and which of their files are there.

/rgb/0001.png /depth/0001.png             GLPDepth
rgb/0001.png depth/0001.png 721.5377      BTS, with a focal length
rgb/0002.png None 721.5377                an image without ground truth, which is left out
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sgmim.data.decoding import named
from sgmim.errors import DataError, FileError, listed

Pair = tuple[str, str]  # paths of an image and of its truth


@dataclass
class Found:
    """The samples of a split that are there, and what is not."""

    pairs: list[Pair] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files of samples that should be there
    without_truth: int = 0  # images that the split names, of which there is no truth

    def add(self, folder: "Folder", image: str, truth: str) -> None:
        """Count a sample in if its files are there."""
        if absent := [path for path in (image, truth) if not folder.has(path)]:
            self.missing += absent
        else:
            self.pairs.append((image, truth))


class Folder:
    """Which files there are below a folder. Each folder is looked into once, and only when asked:
    46,000 files one by one take minutes on a network."""

    def __init__(self, root: Path):
        if not root.is_dir():
            raise FileError(f"there is no folder {root}")
        self.root = root
        self._known: dict[str, frozenset[str]] = {}

    def names(self, inside: str) -> frozenset[str]:
        """The names in a folder, given by its path from here; none where there is no such."""
        if inside not in self._known:
            try:
                found = frozenset(os.listdir(self.root / inside))
            except (FileNotFoundError, NotADirectoryError):
                found = frozenset()
            except OSError as error:
                raise FileError(f"cannot look into the folder: {error}") from error
            self._known[inside] = found
        return self._known[inside]

    def has(self, path: str) -> bool:
        """Whether there is a file of some path from here."""
        inside, name = os.path.split(path)
        return name in self.names(inside)

    def first(self, *folders: str) -> str:
        """The first of some folders that is there and not empty; the first of all if none is."""
        return next((inside for inside in folders if self.names(inside)), folders[0])

    def place(self, path: str, *above: str) -> str | None:
        """The path from here of a file that lies below one of some folders; None if in none."""
        places = (os.path.normpath(os.path.join(inside, path)) for inside in above)
        return next((place for place in places if self.has(place)), None)


def find_listed(folder: Folder, path: Path, images: Sequence[str], truths: Sequence[str]) -> Found:
    """The samples of a list, whose paths may begin in any of some folders.

    Raises:
        DataError: some are not there, of which the first are named; or see `read_pairs`.
    """
    found = Found()
    pairs, found.without_truth = read_pairs(path)
    for image, truth in pairs:
        places = folder.place(image, *images), folder.place(truth, *truths)
        found.missing += [
            each for each, place in zip((image, truth), places, strict=True) if place is None
        ]
        found.pairs.append((places[0] or image, places[1] or truth))
    if found.missing:
        raise DataError(
            f"{len(found.missing)} of the {2 * len(pairs)} files that {path} names are not in "
            f"{folder.root}: {listed(found.missing, 5)}"
        )
    return found


def read_pairs(path: Path) -> tuple[list[Pair], int]:
    """The images and truths of a list, and how many images it names that have no truth.

    Two columns, of which more are passed over; a leading stroke is dropped.

    Raises:
        FileError: there is no list.
        DataError: it has no sample, or a line that is none or that leads out of the data's folder.
    """
    if not path.is_file():
        raise FileError(f"there is no list {path}")
    pairs: list[Pair] = []
    without_truth = 0
    with named(path):
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            image, truth, *_ = [*line.split(), "", ""]
            if not image:
                continue
            if not truth:
                raise DataError(f"line {number} of {path} is not 'IMAGE TRUTH': {line.strip()!r}")
            if truth == "None":
                without_truth += 1
                continue
            pairs.append(tuple(_inside(each, number, path) for each in (image, truth)))  # type: ignore[arg-type]
    if not pairs:
        raise DataError(f"{path} names no image that has a truth")
    return pairs, without_truth


def _inside(path: str, number: int, source: Path) -> str:
    """A path from the data's folder: whoever wrote a list has no say in which files are read."""
    place = os.path.normpath(path.lstrip("/"))
    if place.startswith(".."):
        raise DataError(f"line {number} of {source} leads out of the data's folder: {path!r}")
    return place
