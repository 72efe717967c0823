"""Class numbers that a task knows nothing of are found where they are read, and named."""

from collections.abc import Collection, Mapping

from torch import Tensor

from sgmim.data.derived import Derived
from sgmim.data.images import Sample, Source
from sgmim.errors import ConfigurationError, DataError


def within(source: Source, limits: Mapping[str, int]) -> Source:
    """The source, and a DataError for every sample in which a map has a number too large.

    Args:
        source: of images and maps.
        limits: of maps of class numbers, and of labels: how many classes there are.

    Raises:
        ConfigurationError: labels are of more classes or fewer.
    """
    names, told = getattr(source, "classes", ()), limits.get("label")
    if told and names and len(names) != told:
        raise ConfigurationError(
            f"the data has {len(names)} classes ({names[0]} to {names[-1]}), and the model tells "
            f"{told} apart: give --task.classes {len(names)}"
        )
    return Bounded(source, limits) if limits else source


class Bounded(Derived):
    """A source whose maps of class numbers are checked as they are read."""

    def __init__(self, source: Source, limits: Mapping[str, int]):
        super().__init__(source)
        self.limits = limits

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        sample = self.source.read(index, needs)
        for name, count in self.limits.items():
            if name in sample:
                self._check(name, sample[name], count, self.names[index])
        return sample

    def _check(self, name: str, numbers: Tensor, count: int, sample: str) -> None:
        known = numbers[numbers.isfinite()]
        if known.numel() and not 0 <= (found := known.max().item()) < count:
            raise DataError(
                f"{sample} has the number {found:g} in its {name}, but of {count} classes the last "
                f"is {count - 1}: are there more (--task.classes, or classes "
                f"in --method.maps), or is that what is not labeled (--data.hole.{name} {found:g})?"
            )
