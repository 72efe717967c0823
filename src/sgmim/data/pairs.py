"""Pairs of photographs of one scene, from two places: "image" and "second".

pairs.csv, pairs.txt               two paths a line
left/0001.png right/0001.png       two cameras, below any folder; or image_2 and image_3, as KITTI's
walk/0001.jpg walk/0002.jpg ...    a video in a folder: partners are some frames apart

Two crops of one photograph are no pair: nothing moves from one to the other, near or far, so they
say nothing of a scene's shape.
"""

import csv
import filecmp
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from sgmim import draws
from sgmim.data import decoding
from sgmim.data.derived import Derived
from sgmim.data.images import CHECKED, Images, Sample
from sgmim.data.listing import below, files_below, is_image
from sgmim.data.names import Names
from sgmim.errors import ConfigurationError, DataError, FileError, listed

CAMERAS = {"left": "right", "image_2": "image_3", "image_02": "image_03"}  # the first and second
WHY = (
    "a pair is two photographs of one scene from two places; two of the same, or two crops of one, "
    "show nothing of a scene's shape"
)
HOW = (
    "give a list of two paths a line (.csv, .txt), or a folder that has left/ and right/ (or "
    "image_2/ and image_3/) somewhere, with files of the same names in both, or folders of the "
    "frames of videos, with 'gap': how many frames partners are apart"
)

Pair = tuple[str, str]  # the paths of both, from the folder


class Pairs(Derived):
    """Photographs, with maps on the first of each pair, and a second one of the same scene.

    Args:
        pairs: a list, or a folder of stereo pairs or videos.
        gap: frames that partners of a video are apart, in either direction, which a frame's number
            decides; 0 where the folder is not of videos.
        root: where the paths of a list start, and may not leave; its own folder if not given.
        options: of Images. A map is called as the first photograph.

    Raises:
        ConfigurationError: a negative gap, or one for pairs that are not of videos.
        DataError: there are no pairs, or some of them are of the same photograph; these are looked
            for now in `CHECKED` pairs, evenly spread, and in every pair when it is read.
        FileError: nothing is there.
    """

    def __init__(self, pairs: Path, *, gap: int = 0, root: Path | None = None, **options: Any):
        folder, found = find_pairs(Path(pairs), gap, root)
        self.seconds = Names.of(second for _, second in found)
        super().__init__(Images((folder, Names.of(first for first, _ in found)), **options))
        self.folder, self.max_pixels = folder, options.get("max_pixels", decoding.MAX_PIXELS)
        self.has.add("second")
        for index in range(0, len(self), -(-len(self) // CHECKED)):
            self._check(index)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`. "second" is uint8 RGB (3, H, W), of a size of its own."""
        needs = self.has if needs is None else set(needs)
        sample = self.source.read(index, needs)
        if "second" not in needs:
            return sample
        second = decoding.read_image(self._paths(index)[1], self.max_pixels)
        if "image" in sample and torch.equal(sample["image"], second):
            raise self._same(index)
        return sample | {"second": second}

    def _paths(self, index: int) -> tuple[str, str]:
        return f"{self.folder}/{self.names[index]}", f"{self.folder}/{self.seconds[index]}"

    def _check(self, index: int) -> None:
        first, second = self._paths(index)
        if not os.path.isfile(second):
            raise DataError(f"there is no file {second}, which {first} is paired with")
        if os.path.samefile(first, second) or filecmp.cmp(first, second, shallow=False):
            raise self._same(index)

    def _same(self, index: int) -> DataError:
        first, second = self._paths(index)
        return DataError(f"{first} and {second} are the same photograph: {WHY}")


def find_pairs(pairs: Path, gap: int, root: Path | None) -> tuple[str, list[Pair]]:
    """A folder, and the paths from there of both photographs of each pair; see Pairs."""
    if gap < 0:
        raise ConfigurationError(f"gap is how many frames apart partners are, 0 or more, not {gap}")
    if pairs.is_dir():
        paths = sorted(files_below(pairs, decoding.SUFFIXES))
        found = list(frames(paths, gap) if gap else stereo(paths))
        if not found:
            raise DataError(f"there are no pairs in {pairs}, {_there(paths, gap)}; {HOW}")
        return str(pairs), found
    if not pairs.is_file():
        raise FileError(f"there is no folder or list of pairs {pairs}")
    if pairs.suffix.lower() not in (".csv", ".txt"):
        raise ConfigurationError(f"{pairs} is no list of pairs; {HOW}")
    if gap:
        raise ConfigurationError(f"gap goes with folders of frames, and {pairs} is a list")
    folder = os.path.abspath(root or pairs.parent)
    found = list(read_pairs(pairs, folder))
    if not found:
        raise DataError(f"there are no pairs in {pairs}; {HOW}")
    return folder, found


def read_pairs(path: Path, root: str) -> Iterator[Pair]:
    """Those of a list: .csv, maybe with a header, or .txt, two paths without blanks in them."""
    is_csv = path.suffix.lower() == ".csv"
    with decoding.named(path), open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file) if is_csv else map(str.split, file)
        for number, row in enumerate(rows, start=1):
            both = [word.strip() for word in row if word.strip()]
            if len(both) == 2 and all(map(is_image, both)):
                where = f"line {number} of {path}"
                first, second = ("".join(below(root, word, where)) for word in both)
                yield first, second
            elif both and not (number == 1 and is_csv):  # which may be a header
                raise DataError(
                    f"line {number} of {path} is no pair: it holds {len(both)} words, and a pair "
                    f"is two paths of images: {listed(both, 3)}"
                )


def stereo(paths: list[str]) -> Iterator[Pair]:
    """Files of the same name below the folders of two cameras; DataError where one lacks its
    partner."""
    there, lonely = set(paths), []
    for path in paths:
        parts = path.split("/")
        for place, part in enumerate(parts[:-1]):
            if part in CAMERAS:
                second = "/".join([*parts[:place], CAMERAS[part], *parts[place + 1 :]])
                if second in there:
                    yield path, second
                else:
                    lonely.append(f"{path} (no {second})")
                break
    if lonely:
        raise DataError(
            f"{len(lonely)} photographs of a first camera have none of the same name of the "
            f"second: {listed(lonely, 3)}"
        )


def frames(paths: list[str], gap: int) -> Iterator[Pair]:
    """Every frame of the videos with one that is `gap` frames later or earlier in its folder, as
    its number decides; or whichever of these there is."""
    videos: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        videos[os.path.dirname(path)].append(path)
    for folder in sorted(videos):
        film = sorted(videos[folder], key=_in_order)
        for place, frame in enumerate(film):
            there = [other for other in (place - gap, place + gap) if 0 <= other < len(film)]
            if there:
                yield frame, film[there[draws.key(place) % len(there)]]


def _in_order(path: str) -> list[tuple[int, str]]:
    """By name, but numbers by their value: frame 10 comes after frame 9."""
    words = re.split(r"(\d+)", path)
    return [(int(word) if word.isdecimal() else 0, word) for word in words]


def _there(paths: list[str], gap: int) -> str:
    """What there is instead, for people."""
    folders = sorted({os.path.dirname(path) or "." for path in paths})
    if not paths:
        return "nor images"
    where = f"{len(paths)} images in {len(folders)} folders: {listed(folders, 3)}"
    return f"only {where}" + f", none with more than {gap} frames" * bool(gap)
