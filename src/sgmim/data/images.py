"""A folder of images as it is, and maps that lie on them, found by name.

photos/summer/lake.jpg                     the image "summer/lake.jpg"
depth/summer/lake.png                      its map, given `maps={"depth": "depth"}`
depth/knowledge.json                       what the numbers in the maps mean (stored.py)
"""

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from sgmim.data import decoding, stored
from sgmim.data.geometry import Crop, cut, rule
from sgmim.data.listing import files_below, find_images, stem
from sgmim.errors import ConfigurationError, DataError, listed, unknown

# "image" is uint8 RGB (3, H, W); every map is float32 (c, H, W), NaN where nothing is known; or,
# where its values are shares of 255 and all known, uint8: a batch has it divided.
Sample = dict[str, Tensor]

CHECKED = 2000  # images whose size is compared with their maps' before the first step


@runtime_checkable  # so that tests can check signatures
class Source(Protocol):
    """Samples by number. `has` names what each of them holds."""

    has: set[str]

    @property
    def names(self) -> Sequence[str]:
        """One a sample: what errors call it, and files made from it."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """What is needed of one sample, everything if not told. DataError, with the file's name,
        where it is broken."""
        ...


class Images:
    """The images below a folder, at any depth, or those in a list, each with its maps.

    images: the folder; or a list, .txt or .csv (listing.py); or what was found of them: a folder,
        and paths from there, some of which may be the same.
    maps: for each kind of map its folder, where a map is called as its image, but for the suffix.
    scale, hole: how to read maps whose folder holds no note (stored.py): a value is the stored
        number / scale, and nothing is known where the stored number is `hole`.
    root: where the paths of a list start, and may not leave; the list's own folder if not given.
    max_pixels: what claims to be larger is refused before it is decoded.
    check: compare sizes now, see below.

    A map lies on the upright image: on an image that EXIF says to turn, after it was turned.
    Raises FileError where a folder is missing and DataError where there are no images, two of them
    differ only in suffix, a map is missing, or a map is not as large as its image (or as large as
    its folder's note says with max_side; it is then enlarged when it is read). Sizes are
    compared now for `CHECKED` images, evenly spread (all, if there are no more), and for every
    image when it is read. Listed files are looked for in the same way.
    """

    def __init__(
        self,
        images: Path | str | tuple[str, Sequence[str]],
        maps: dict[str, Path] | None = None,
        *,
        scale: dict[str, float] | None = None,
        hole: dict[str, float] | None = None,
        root: Path | None = None,
        max_pixels: int = decoding.MAX_PIXELS,
        check: bool = True,
    ):
        self.folder: str
        self.names: Sequence[str]
        self.folder, self.names = (
            images if isinstance(images, tuple) else find_images(Path(images), root)
        )
        self.max_pixels = max_pixels
        stems = [stem(name) for name in self.names] if maps else []
        self.maps = {
            name: Maps(name, Path(folder), stems, (scale or {}).get(name), (hole or {}).get(name))
            for name, folder in (maps or {}).items()
        }
        for name in [*(scale or {}), *(hole or {})]:
            if name not in self.maps:
                raise unknown("map", name, self.maps)
        self.has = {"image", *self.maps}
        self.notes = {name: maps.note for name, maps in self.maps.items()}
        if check:
            self._check_sizes()

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        return f"{self.folder}/{self.names[index]}"

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        needs, sample = self.has if needs is None else needs, {}
        if "image" in needs:
            sample["image"] = decoding.read_image(self.path(index), self.max_pixels)
        for name, maps in self.maps.items():
            if name in needs:
                sample[name] = maps.read(index, self.names[index], self.max_pixels)
        sizes = {name: (value.shape[-2], value.shape[-1]) for name, value in sample.items()}
        small = self._small(index, sizes)
        for name, whole in small.items():
            sample[name] = cut({name: sample[name]}, Crop(0, 0, *sizes[name]), whole)[name]
        self._check_same(index, sizes | small)
        return sample

    def _small(self, index: int, sizes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Which maps are smaller than their image, just as their note says; and its size."""
        sides = {name: maps.note.max_side for name, maps in self.maps.items() if name in sizes}
        if not any(sides.values()):
            return {}
        whole = sizes.get("image") or decoding.image_size(self.path(index), self.max_pixels)
        return {
            name: whole
            for name, side in sides.items()
            if side and side < max(whole) and stored.is_within(sizes[name], whole, side)
        }

    def _check_sizes(self) -> None:
        for index in range(0, len(self), -(-len(self) // CHECKED)):
            if not os.path.isfile(self.path(index)):
                raise DataError(f"there is no file {self.path(index)}")
            if not self.maps:
                continue
            try:
                sizes = {"image": decoding.image_size(self.path(index), self.max_pixels)}
                for name, maps in self.maps.items():
                    path = maps.path(index, self.names[index])
                    sizes[name] = stored.map_size(path, self.max_pixels)
            except DataError:
                continue  # a broken file, of which a run may bear a few, and which it names
            self._check_same(index, sizes | self._small(index, sizes))

    def _check_same(self, index: int, sizes: dict[str, tuple[int, int]]) -> None:
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {h} x {w}" for name, (h, w) in sizes.items())
            raise DataError(f"{self.path(index)} and its maps are not of one size: {told}")


class Maps:
    """One kind of map for a row of images: a folder, and how its numbers are read."""

    def __init__(
        self, name: str, folder: Path, stems: list[str], scale: float | None, hole: float | None
    ):
        self.folder = folder
        self.suffixes = self._match(name, stems)  # one an image, as a folder may mix them
        self.note = self._completed(
            stored.read_note(folder) or stored.Note(), scale=scale, hole=hole
        )
        if self.note.scale is None and rule(name).interpolation == "nearest":
            self.note = replace(self.note, scale=1.0)  # numbers of classes are not to be divided

    def path(self, index: int, image: str) -> str:
        return f"{self.folder}/{stem(image)}{self.suffixes[index]}"

    def read(self, index: int, image: str, max_pixels: int) -> Tensor:
        return stored.read_map(
            self.path(index, image),
            scale=self.note.scale,
            low=self.note.low,
            hole=self.note.hole,
            max_pixels=max_pixels,
        )

    def _completed(self, note: stored.Note, **given: float | None) -> stored.Note:
        for name, value in given.items():
            said = getattr(note, name)
            if value is not None and said not in (None, value):
                raise ConfigurationError(
                    f"{name}={value} was given, but {self.folder / stored.NOTE} says {said}; "
                    f"leave it out or correct the note"
                )
        told: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(note, **told)

    def _match(self, name: str, stems: list[str]) -> list[str]:
        there: dict[str, str] = {}
        for path in files_below(self.folder, stored.SUFFIXES):
            called = stem(path)
            if called in there:
                raise DataError(
                    f"two {name} maps have one name in {self.folder}: {path} and "
                    f"{called}{there[called]}; remove one"
                )
            there[called] = sys.intern(path[len(called) :])  # one string for all
        missing = [called for called in stems if called not in there]
        if missing:
            suffixes = ", ".join(sorted(stored.SUFFIXES))
            raise DataError(
                f"{len(missing)} of {len(stems)} images have no {name} map in {self.folder} "
                f"(called as the image, but for the suffix: {suffixes}): {listed(missing, 5)}; "
                f"make maps with 'sgmim knowledge {name} IMAGES MAPS'"
            )
        return [there[called] for called in stems]
