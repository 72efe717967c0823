"""What the readers of all datasets have in common: a split, and what it should hold.

A reader is found by the name of its file and made with a folder, a split and its own options.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sgmim.data.decoding import read_image
from sgmim.data.images import Sample
from sgmim.data.splits import Found
from sgmim.data.stored import Note, stored_numbers, to_values
from sgmim.errors import DataError, listed, unknown

MAX_PIXELS = 64_000_000  # of a file: no benchmark has images as large


class Dataset:
    """A split of a dataset: a `Source` that also says what it is of and what it should hold.

    Args:
        root: the folder.
        split: which of `splits`.
        found: its samples, as paths from the folder, and what is missing.
        expected: how many samples the split has when the dataset is complete, if that is known.

    Raises:
        DataError: there is no sample.
    """

    title: str  # of the dataset, as people say it
    benchmark: str  # its name in contaminations: what a teacher may have been trained on
    license: str
    origin: str  # where it is to be had, in words
    splits: tuple[str, ...]
    truth: str  # what comes with an image: the map "depth" or "classes", or a "label"
    classes: tuple[str, ...] = ()  # names, by number
    notes: dict[str, Note]

    def __init__(self, root: Path, split: str, found: Found, expected: int | None):
        self.root, self.split, self.expected = root, split, expected
        self.missing, self.without_truth = found.missing, found.without_truth
        self.pairs = found.pairs
        self.names: Sequence[str] = [image for image, _ in found.pairs]
        self.has, self.notes = {"image", self.truth}, {}
        if not self.pairs:
            absent = f": {listed(found.missing, 3)}" if found.missing else ""
            raise DataError(
                f"there is no sample of {self.title}'s split {split!r} in {root}{absent}; "
                f"'sgmim data check' tells what should be there and where it is to be had"
            )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`. DataError where an image and its truth are not of one size, too."""
        needs = self.has if needs is None else needs
        sample: Sample = {}
        if "image" in needs:
            sample["image"] = self.read_image(index)
        if self.truth in needs:
            sample[self.truth] = self.read_truth(index)
        if len({value.shape[-2:] for value in sample.values() if value.ndim}) > 1:
            (one, other) = (tuple(value.shape[-2:]) for value in sample.values())
            raise DataError(
                f"{self.path(index)} is {one[0]} x {one[1]} pixels, but its {self.truth} is "
                f"{other[0]} x {other[1]}"
            )
        return sample

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.root / self.pairs[index][0]

    def truth_path(self, index: int) -> Path:
        """The file of an image's truth."""
        return self.root / self.pairs[index][1]

    def read_image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return read_image(self.path(index), MAX_PIXELS)

    def read_truth(self, index: int) -> Tensor:
        raise NotImplementedError

    def check_split(self, split: str) -> None:
        if split not in self.splits:
            raise unknown(f"split of {self.title}", split, self.splits)


def read_depth(path: Path, scale: float) -> Float[Tensor, "1 H W"]:
    """Meters, kept as 16-bit numbers times `scale`; NaN where the number is 0, which says that
    nothing is known. DataError, which names the file, where it is no map of 16 bits."""
    numbers, _ = stored_numbers(path, MAX_PIXELS)
    if numbers.dtype == torch.uint8 or len(numbers) != 1:
        bits = 8 if numbers.dtype == torch.uint8 else 16
        raise DataError(
            f"{path} has {len(numbers)} channels of {bits} bits; depth is kept in one of 16, as "
            f"meters times {scale:g}: is it a picture of depth?"
        )
    return to_values(numbers, scale, hole=0.0)


def read_labels(path: Path) -> UInt8[Tensor, "1 H W"]:
    """Class numbers as they are kept. DataError, which names the file, where it is no such map."""
    numbers, _ = stored_numbers(path, MAX_PIXELS)
    if numbers.dtype != torch.uint8 or len(numbers) != 1:
        raise DataError(
            f"{path} has {len(numbers)} channels of type {numbers.dtype}; class numbers are kept "
            f"in one of 8 bits: is it a picture in colors?"
        )
    return numbers


def to_classes(
    labels: UInt8[Tensor, "1 H W"], count: int, path: Path, *, first: int = 0, ignored: Tensor
) -> Float[Tensor, "1 H W"]:
    """Class numbers from 0, NaN where the label is one of the `ignored` or below the `first`.

    Raises:
        DataError: a label is beyond those of `count` classes; the file is named.
    """
    nothing = torch.isin(labels, ignored) | (labels < first)
    most = int(labels.masked_fill(nothing, first).max()) - first if labels.numel() else 0
    if most >= count:
        raise DataError(
            f"{path} has the label {most + first}; {count} classes have the labels {first} to "
            f"{count - 1 + first}"
        )
    return (labels.float() - first).masked_fill_(nothing, torch.nan)
