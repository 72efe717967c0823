"""What the readers of data sets have in common that tell one class an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer
from torch import Tensor

from sgmim.data.classes import label
from sgmim.data.datasets.base import Dataset
from sgmim.errors import DataError


class Classified(Dataset):
    """A split of a dataset that tells one class an image: "label", int64 ().

    Args:
        root: the folder.
        split: which of `splits`.
        names: one an image.
        labels: the number of the class of each.
        classes: their names, by number.
        expected: how many images a complete split has.

    Raises:
        DataError: there is no image, or a label is no number of a class.
    """

    truth = "label"

    def __init__(
        self,
        root: Path,
        split: str,
        names: Sequence[str],
        labels: Integer[np.ndarray, " images"],
        classes: Sequence[str],
        expected: int,
    ):
        self.root, self.split, self.expected = root, split, expected
        self.names, self.labels, self.classes = names, labels, tuple(classes)
        self.missing, self.without_truth = [], 0
        self.has, self.notes = {"image", "label"}, {}
        if not len(names):
            raise DataError(f"there is no image of {self.title}'s split {split!r} in {root}")
        if len(labels) != len(names) or labels.min() < 0 or labels.max() >= len(classes):
            raise DataError(
                f"{self.title}'s split {split!r} in {root} has {len(names)} images and "
                f"{len(labels)} labels from {labels.min()} to {labels.max()}, of {len(classes)} "
                f"classes: one an image, from 0 to {len(classes) - 1}, was to be expected"
            )

    def path(self, index: int) -> Path:
        return self.root / self.names[index]

    def read_truth(self, index: int) -> Int64[Tensor, ""]:
        return label(self.labels[index])
