"""Sources made of another source: a part of it, another map on its images, its maps mixed up."""

from collections.abc import Callable, Collection, Sequence

from torch import Tensor

from sgmim.data.images import Sample, Source
from sgmim.data.names import Chosen
from sgmim.errors import ConfigurationError, DataError, unknown


class Subset:
    """Some samples of a source.

    Args:
        source: that they are of.
        part: first and last share of it, such as (0.7, 1.0) for its last 30 %, in its order.
        count: so many of these, evenly spaced.

    Raises:
        ConfigurationError: there would be none, or fewer than `count`.
    """

    def __init__(
        self, source: Source, part: tuple[float, float] = (0.0, 1.0), count: int | None = None
    ):
        if not 0 <= part[0] < part[1] <= 1:
            raise ConfigurationError(f"a part of the data is two shares, 0 <= a < b <= 1: {part}")
        first, last = (round(share * len(source)) for share in part)
        span = range(first, last)
        if not span or (count is not None and not 0 < count <= len(span)):
            raise ConfigurationError(
                f"cannot take {count or 'any'} of the {len(span)} samples in part {part} of "
                f"{len(source)}"
            )
        count = count or len(span)
        self.source, self.has = source, set(source.has)
        self.notes = getattr(source, "notes", {})
        self.indices: Sequence[int] = span  # of millions, which a range keeps in no memory
        if count < len(span):
            self.indices = [span[i * len(span) // count] for i in range(count)]
        self.names: Sequence[str] = Chosen(source.names, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        return self.source.read(self.indices[index], needs)


class WithMap:
    """A source with one more map, computed from the image (colors in [0, 1]) when it is read."""

    def __init__(self, source: Source, name: str, make: Callable[[Tensor], Tensor]):
        self.source, self.name, self.make = source, name, make
        self.names, self.has = source.names, {*source.has, name}
        self.notes = getattr(source, "notes", {})

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        needs = self.has if needs is None else set(needs)
        if self.name not in needs:
            return self.source.read(index, needs)
        sample = self.source.read(index, {*needs, "image"} - {self.name})
        return sample | {self.name: self.make(sample["image"][None] / 255)[0]}


class Exchanged:
    """A source in which every image has another's map: the control of what a map is good for.

    Only for images of one size. Raises ConfigurationError where there is nothing to exchange.
    """

    def __init__(self, source: Source, name: str):
        if name not in source.has - {"image"}:
            raise unknown("map", name, source.has - {"image"})
        if len(source) < 2:
            raise ConfigurationError(f"one image has no other to exchange its {name} with")
        self.source, self.name = source, name
        self.names, self.has = source.names, set(source.has)
        self.notes = getattr(source, "notes", {})

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        needs = self.has if needs is None else set(needs)
        sample = self.source.read(index, needs)
        if self.name in needs:
            other = (index + len(self) // 2) % len(self)  # half a source away: no neighbor's either
            sample[self.name] = self.source.read(other, {self.name})[self.name]
            if len({value.shape[-2:] for value in sample.values()}) > 1:
                raise DataError(
                    f"{self.names[index]} and {self.names[other]} are not of one size: their "
                    f"{self.name} cannot be exchanged"
                )
        return sample
