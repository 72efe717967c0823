"""CIFAR as it is published, and packed: pictures of 32 x 32 pixels in a few files.

data_batch_1.bin ... test_batch.bin    CIFAR-10, binary version: a label, then red, green, blue
train.bin, test.bin                    CIFAR-100: a coarse label, a fine one, then the same
train*.npz, test*.npz or val*.npz      packed: "bytes", files one after another; "offsets",
                                       where each begins and the last ends; "labels"
classes.json                           beside packed ones: the names of the classes
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Integer, UInt8
from torch import Tensor
from torchvision.io import ImageReadMode

from sgmim.data.classified import Classified
from sgmim.data.datasets.base import MAX_PIXELS
from sgmim.data.decoding import decode, named
from sgmim.data.names import Names
from sgmim.data.splits import Folder
from sgmim.errors import DataError, listed

SIDE = 32  # pixels
COUNTS = {"train": 50_000, "test": 10_000}


class Cifar(Classified):
    """CIFAR from its binary version or packed, whichever is there.

    Args:
        root: the folder with the files, or the one in which their archive was unpacked.
        split: "train" or "test", which are packed as "val", too.

    Raises:
        ConfigurationError: there is no such split.
        DataError: there are none of these files, or they are not what they are called.
        FileError: there is no such folder.
    """

    splits = ("train", "test")
    license = "none is stated; everybody uses it for research"
    known_classes: ClassVar[tuple[str, ...]]  # their names
    binary: ClassVar[Mapping[str, tuple[str, ...]]]  # files of the binary version, by split
    unpacked: ClassVar[str]  # the folder that its archive makes
    labels_each: ClassVar[int]  # of a picture in it, of which the last is the class

    def __init__(self, root: Path, split: str = "train"):
        self.check_split(split)
        folder = Folder(root)
        above = "" if folder.has(self.binary["test"][0]) else f"{self.unpacked}/"
        places = [root / above / name for name in self.binary[split] if folder.has(above + name)]
        packed = [root / name for name in _packed(folder, split)]
        if not places and not packed:
            raise DataError(
                f"there is neither {listed(list(self.binary[split]))} in {root}, nor {split}*.npz; "
                f"{self.title} is to be had from {self.origin}"
            )
        self.pictures = Binary(places, self.labels_each) if places else Packed(packed[0])
        classes: Sequence[str] = self.known_classes
        if not places and folder.has("classes.json"):
            with named(root / "classes.json"):
                classes = json.loads((root / "classes.json").read_text(encoding="utf-8"))
        numbers = self.pictures.labels
        names = Names.of(f"{split}/{number:05d}.png" for number in range(len(numbers)))
        super().__init__(root, split, names, numbers, classes, COUNTS[split])

    def read_image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        try:
            return self.pictures.read(index)
        except Exception as error:  # decoders raise all kinds
            raise DataError(f"{self.path(index)} cannot be read: {error}") from error


class Binary:
    """Pictures in files of records: labels, then 1024 numbers each of red, green and blue."""

    def __init__(self, paths: Sequence[Path], labels: int):
        self.paths, self.before, self.size = paths, labels, labels + 3 * SIDE * SIDE
        for path in paths:
            if not path.stat().st_size or path.stat().st_size % self.size:
                raise DataError(
                    f"{path} has {path.stat().st_size} bytes, which are not records of "
                    f"{self.size}: is it whole, and of this dataset?"
                )
        sizes = [path.stat().st_size // self.size for path in paths]
        self.ends = np.cumsum(sizes)
        self.labels = np.concatenate([self._of_file(path) for path in paths])

    def read(self, index: int) -> UInt8[Tensor, "3 32 32"]:
        file = int(np.searchsorted(self.ends, index, side="right"))
        place = index - (int(self.ends[file - 1]) if file else 0)
        numbers = np.fromfile(self.paths[file], np.uint8, self.size, offset=place * self.size)[
            self.before :
        ]
        return torch.from_numpy(numbers).view(3, SIDE, SIDE)

    def _of_file(self, path: Path) -> UInt8[np.ndarray, " pictures"]:
        return np.fromfile(path, np.uint8).reshape(-1, self.size)[:, self.before - 1].copy()


class Packed:
    """Pictures as the files they were, JPEG or PNG, one after another in a file of numpy's."""

    def __init__(self, path: Path):
        with named(path), np.load(path) as arrays:  # which loads nothing that could be run
            self.bytes, self.offsets = arrays["bytes"], arrays["offsets"]
            self.labels: Integer[np.ndarray, " pictures"] = arrays["labels"]
        ends = self.offsets
        rising = len(ends) == len(self.labels) + 1 and (np.diff(ends) > 0).all()
        if not rising or ends[0] < 0 or ends[-1] > len(self.bytes):
            raise DataError(
                f"{path} has {len(self.labels)} labels, {len(ends)} offsets and "
                f"{len(self.bytes)} bytes, which do not go together: offsets are one more than "
                f"labels, rise, and end within the bytes"
            )

    def read(self, index: int) -> UInt8[Tensor, "3 H W"]:
        first, last = self.offsets[index : index + 2]
        return decode(bytearray(self.bytes[first:last]), MAX_PIXELS, ImageReadMode.RGB)


def _packed(folder: Folder, split: str) -> list[str]:
    """The packed files of a split: val.npz is one of test, as train10k.npz is one of train."""
    starts = (split, "val") if split == "test" else (split,)
    return sorted(
        name for name in folder.names("") if name.startswith(starts) and name.endswith(".npz")
    )
