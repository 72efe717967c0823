"""Which files there are: below a folder, or in a list."""

import csv
import os
from array import array
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from sgmim.data import decoding
from sgmim.data.names import Names
from sgmim.errors import ConfigurationError, DataError, FileError

MANIFEST = "shards.json"  # what a folder of packed images has


def find_images(images: Path, root: Path | None = None) -> tuple[str, Names]:
    """A folder, and the path from there of each image below it, or in the list that `images` is;
    or the one image that it is.

    A list is .txt with a path a line, or .csv with paths in its first column and maybe a header.
    Its paths start at `root`, which is its own folder if not given, and do not lead out of there:
    whoever wrote a list has no say in which files of this machine are read. Links are followed.

    Raises FileError where nothing is there, and DataError where no image is, a line of a list is no
    path or leads out of the root, or two images are told apart by nothing but the suffix.
    """
    if images.is_dir():
        if (images / MANIFEST).is_file():
            raise ConfigurationError(f"{images} holds packed images: --data.shards {images}")
        folder = str(images)
        parts: Iterator[tuple[str, str]] = map(
            os.path.splitext, sorted(files_below(images, decoding.SUFFIXES))
        )
    elif images.is_file() and images.suffix.lower() in (".txt", ".csv"):
        folder = os.path.abspath(root or images.parent)
        parts = _read_list(images, folder)
    elif images.is_file() and images.suffix.lower() in decoding.SUFFIXES:
        folder, parts = os.path.abspath(images.parent), iter([os.path.splitext(images.name)])
    elif images.is_file():
        raise ConfigurationError(
            f"{images} is neither a folder of images, nor an image, nor a .txt or .csv list"
        )
    else:
        raise FileError(f"there is no folder or list {images}")
    hashes = array("q")  # of the paths without suffix: of millions, a tenth of their memory
    names = Names.of(_joined(parts, hashes))
    if not names:
        known = ", ".join(sorted(decoding.SUFFIXES))
        raise DataError(f"there is no image in {images}; images end in {known}")
    in_order = np.sort(hashes)
    if (in_order[1:] == in_order[:-1]).any():
        _check_unique(names, images)
    return folder, names


def stem(name: str) -> str:
    """What an image and its maps have in common: the path without the suffix."""
    return os.path.splitext(name)[0]


def files_below(
    folder: Path | str, suffixes: Collection[str], inside: str = "", above: frozenset = frozenset()
) -> Iterator[str]:
    """Files with such a suffix below a folder, as paths from there; hidden ones are passed over.

    Raises FileError where a folder cannot be looked into.
    """
    try:
        here = os.stat(os.path.join(folder, inside))
        entries = list(os.scandir(os.path.join(folder, inside)))
    except OSError as error:
        raise FileError(f"cannot look into the folder: {error}") from error
    if (here.st_dev, here.st_ino) in above:
        return  # links may run in circles
    above |= {(here.st_dev, here.st_ino)}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.splitext(entry.name)[1].lower() in suffixes:
            yield inside + entry.name
        elif entry.is_dir():
            yield from files_below(folder, suffixes, f"{inside}{entry.name}/", above)


def _read_list(path: Path, root: str) -> Iterator[tuple[str, str]]:
    """The images of a list: the path of each from the root, and its suffix."""
    is_csv = path.suffix.lower() == ".csv"
    with decoding.named(path), open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file) if is_csv else ([line] for line in file)
        for number, row in enumerate(rows, start=1):
            line = row[0].strip() if row else ""
            if is_image(line):
                yield below(root, line, f"line {number} of {path}")
            elif line and not (number == 1 and is_csv):  # which may be a header
                raise DataError(f"line {number} of {path} is no path of an image: {line!r}")


def is_image(path: str) -> bool:
    """Whether this can be the path of an image."""
    return os.path.splitext(path)[1].lower() in decoding.SUFFIXES and "\0" not in path


def below(root: str, path: str, where: str) -> tuple[str, str]:
    """A path that was read somewhere, from a root, as short as can be; and its suffix. DataError
    where it leads out of there."""
    place, suffix = os.path.splitext(path)
    if place[0] in "/." or "/." in place or "//" in place:  # else it is as short as can be
        place, start = os.path.normpath(os.path.join(root, place)), root.rstrip(os.sep) + os.sep
        if not place.startswith(start):
            raise DataError(
                f"{where} leads out of {root}: {path!r}; if that is meant, say below which folder "
                f"all of its files are, with 'root'"
            )
        place = place[len(start) :]
    return place, suffix


def _joined(parts: Iterable[tuple[str, str]], hashes: array) -> Iterator[str]:
    for place, suffix in parts:
        hashes.append(hash(place))
        yield place + suffix


def _check_unique(names: Names, images: Path) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(stem(name), name)
        if other is not name:
            raise DataError(
                f"{images} has both {other} and {name}: a map could not tell which of them it "
                f"belongs to; remove or rename one"
            )
