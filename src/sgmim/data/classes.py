"""Images with a class each: the name of the folder they are in, as a number."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sgmim.data.derived import Derived
from sgmim.data.images import Sample, Source
from sgmim.errors import DataError, listed


class InFolders(Derived):
    """A source whose images have a "label": which of the folders below the root they are in.

    photos/cat/paws/0001.jpg                   the class "cat", the first of two
    photos/dog/0001.jpg                        the class "dog"

    `classes` are the names of those folders, sorted as torchvision's ImageFolder sorts them; a
    label is the number of one of them.

    Raises:
        DataError: an image is in no folder; or all are in one, which tells nothing apart.
    """

    def __init__(self, source: Source):
        super().__init__(source)
        self.labels, self.classes = by_folder(source.names)
        self.has.add("label")

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`. "label" is int64 ()."""
        needs = self.has if needs is None else set(needs)
        sample = self.source.read(index, needs - {"label"})
        return sample | {"label": label(self.labels[index])} if "label" in needs else sample


def by_folder(names: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each image by the first folder of its path; and the names of the classes.

    Raises:
        DataError: see `InFolders`.
    """
    numbers: dict[str, int] = {}
    found = np.fromiter((numbers.setdefault(_folder(name), len(numbers)) for name in names), int)
    classes = sorted(numbers)
    if len(classes) == 1:
        raise DataError(
            f"all {len(found):,} images are in the folder {classes[0]}, so that it tells none of "
            f"them apart: classes are the folders right below the one that is given; give "
            f"{classes[0]} itself, if it holds them"
        )
    rank = {name: place for place, name in enumerate(classes)}
    place = np.array([rank[name] for name in numbers], np.int32)
    return place[found], tuple(classes)


def label(number: int | np.integer) -> Int64[Tensor, ""]:
    """The number of a class as a sample holds it."""
    return torch.tensor(int(number), dtype=torch.int64)


def share_classes(source: Source, other: Source) -> None:
    """See to it that a number means the same class in both. Raises DataError as `check_same`."""
    check_same(getattr(source, "classes", ()), getattr(other, "classes", ()))


def check_same(learnt: Sequence[str], tested: Sequence[str]) -> None:
    """See to it that a number means the same class where a model learnt and where it is tested.

    Raises:
        DataError: the names of the classes differ; where there are none, nothing is known.
    """
    if learnt and tested and tuple(learnt) != tuple(tested):
        only = sorted({*learnt} ^ {*tested})
        told = f"only in one of both: {listed(only, 3)}" if only else "they are in another order"
        raise DataError(
            f"the {len(learnt)} classes that were learnt are not the {len(tested)} to be tested "
            f"on; {told}"
        )


def _folder(name: str) -> str:
    folder, stroke, _ = name.partition("/")
    if not stroke:
        raise DataError(
            f"{name} is in no folder, so that it has no class: every image is to be in a folder "
            f"with the name of its class, right below the one that is given"
        )
    return folder
