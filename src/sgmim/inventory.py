"""What of a dataset is there, split by split: found, missing, and whether files can be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from sgmim.data.datasets.base import Dataset
from sgmim.data.images import Sample
from sgmim.datasets import ROOM, Options, is_description, open_dataset, read_description
from sgmim.errors import DataError
from sgmim.options import find


@dataclass
class Shelf:
    """What was found of a split."""

    split: str
    truth: str = ""  # what its images come with: a map, or a label
    count: int = 0
    expected: int | None = None
    without_truth: int = 0
    missing: Sequence[str] = ()  # files that should be there
    faults: list[str] = field(default_factory=list)  # what stands in the way, with files' names
    sizes: set[tuple[int, int]] = field(default_factory=set)  # height and width of samples read
    known: list[float] = field(default_factory=list)  # share of their pixels that have a truth
    values: list[float] = field(default_factory=list)  # of the truths: the least and greatest

    @property
    def is_whole(self) -> bool:
        short = self.expected is not None and self.count != self.expected
        return bool(self.count) and not (short or self.missing or self.faults)


def inventory(
    name: str, root: Path, options: Options | None = None, samples: int = 8
) -> Iterator[Shelf]:
    """What is there of each split of a dataset.

    Args:
        name: of a dataset, or a file in YAML.
        root: its folder.
        options: of its reader.
        samples: how many of a split are read, evenly spread.

    Raises:
        ConfigurationError: there is no such dataset or option.
        FileError: there is no such folder.
    """
    held_out = ("val",) if (options or {}).get("val_drives") else ()
    for split in (*about(name).splits, *held_out):
        shelf = Shelf(split)
        try:
            dataset = open_dataset(name, root, split, options)
        except DataError as error:
            shelf.faults.append(str(error))
        else:
            shelf.truth, shelf.count, shelf.expected = dataset.truth, len(dataset), dataset.expected
            shelf.without_truth, shelf.missing = dataset.without_truth, dataset.missing
            _look(dataset, shelf, samples)
        yield shelf


class About(NamedTuple):
    """What is to be told of a dataset, whatever is there of it."""

    title: str
    origin: str
    license: str
    splits: tuple[str, ...]


def about(name: str) -> About:
    """See `inventory` for what the name may be, and for what is raised."""
    if is_description(name):
        told = read_description(Path(name))
        return About(told.name, told.origin, told.license, tuple(told.splits))
    reader: type[Dataset] = find(ROOM, name)
    return About(reader.title, reader.origin, reader.license, reader.splits)


def _look(dataset: Dataset, shelf: Shelf, samples: int) -> None:
    """Read some samples of a split, evenly spread."""
    for number in range(min(samples, len(dataset))):
        try:
            sample = dataset.read(number * len(dataset) // min(samples, len(dataset)))
        except DataError as error:
            shelf.faults.append(str(error))
        else:
            _note(sample, dataset.truth, shelf)


def _note(sample: Sample, truth: str, shelf: Shelf) -> None:
    values, (height, width) = sample[truth], sample["image"].shape[-2:]
    known = values[values.isfinite()]
    shelf.sizes.add((height, width))
    shelf.known.append(known.numel() / values.numel())
    if known.numel():
        least, most = (float(value) for value in torch.aminmax(known))
        shelf.values = [min([least, *shelf.values]), max([most, *shelf.values])]
