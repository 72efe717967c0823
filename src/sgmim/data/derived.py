"""Sources made of another source: a part of it, another map on its images, its maps mixed up."""

from array import array
from collections.abc import Collection, Sequence

import numpy as np

from sgmim.data.geometry import Crop, by_photograph, cut, parted
from sgmim.data.images import Sample, Source
from sgmim.data.live import Live
from sgmim.data.names import Chosen
from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError, DataError, unknown
from sgmim.pinhole import Lens


class Derived:
    """What every source made of another hands on of it: what it is of, and its samples unless told.

    A dataset's `expected` is handed on by a part of it, too: that is how a part is seen to be one.
    """

    def __init__(self, source: Source):
        self.source, self.has = source, set(source.has)
        self.names: Sequence[str] = source.names
        self.notes: dict[str, Note] = getattr(source, "notes", {})
        self.expected: int | None = getattr(source, "expected", None)
        self.classes: tuple[str, ...] = getattr(source, "classes", ())
        self.benchmark: str = getattr(source, "benchmark", "")

    def __len__(self) -> int:
        return len(self.names)


class Subset(Derived):
    """Some samples of a source.

    Args:
        source: that they are of.
        part: first and last share of it, such as (0.7, 1.0) for its last 30 %, in its order.
        count: so many of these, evenly spaced.
        labels: of its samples, by which a part is one of each class: their order is often that of
            the classes.

    Raises:
        ConfigurationError: there would be none, or fewer than `count`.
    """

    def __init__(
        self,
        source: Source,
        part: tuple[float, float] = (0.0, 1.0),
        count: int | None = None,
        labels: np.ndarray | None = None,
    ):
        if not 0 <= part[0] < part[1] <= 1:
            raise ConfigurationError(f"a part of the data is two shares, 0 <= a < b <= 1: {part}")
        first, last = (round(share * len(source)) for share in part)
        span: Sequence[int] = range(first, last)  # of millions, which a range keeps in no memory
        if labels is not None and tuple(part) != (0.0, 1.0):
            span = of_each_class(labels, part)
        if not len(span) or (count is not None and not 0 < count <= len(span)):
            raise ConfigurationError(
                f"cannot take {count or 'any'} of the {len(span)} samples in part {part} of "
                f"{len(source)}"
            )
        count = count or len(span)
        super().__init__(source)
        self.indices = span
        if count < len(span):
            self.indices = [span[i * len(span) // count] for i in range(count)]
        self.names = Chosen(source.names, self.indices)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        return self.source.read(self.indices[index], needs)


def of_each_class(labels: np.ndarray, part: tuple[float, float]) -> Sequence[int]:
    """The places of a first and last share of the samples of each class, in their order."""
    order = np.argsort(labels, kind="stable")
    classes = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    first, last = part
    spans = [each[round(first * len(each)) : round(last * len(each))] for each in classes]
    return array("q", np.sort(np.concatenate(spans)).tolist())


class Drawn(Derived):
    """Some samples of a source at random, as numpy's old generator draws them from a seed.

    MultiMAE's code tests on NYU-v2 with the first 100 of a permutation from seed 0.

    Args:
        source: that they are of.
        count: how many.
        seed: of the permutation.

    Raises:
        DataError: the source is not complete, so that others would be drawn; or has not so many.
    """

    def __init__(self, source: Source, count: int, seed: int):
        super().__init__(source)
        if self.expected not in (None, len(source)) or not 0 < count <= len(source):
            whole = f", of {self.expected}" * bool(self.expected)
            raise DataError(
                f"{count} samples are to be drawn from all there are, and {len(source)} were "
                f"found{whole}"
            )
        self.indices = np.random.RandomState(seed).permutation(len(source))[:count].tolist()
        self.names, self.expected = Chosen(source.names, self.indices), count

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        return self.source.read(self.indices[index], needs)


class WithMap(Derived):
    """A source with one more map, computed from the whole sample when it is read."""

    def __init__(self, source: Source, name: str, live: Live):
        super().__init__(source)
        self.name, self.live = name, live
        self.has.add(name)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        needs = self.has if needs is None else set(needs)
        if self.name not in needs:
            return self.source.read(index, needs)
        sample = self.source.read(index, {*needs, *self.live.needs} - {self.name})
        whole = {name: sample[name][None] for name in self.live.needs}
        return sample | {self.name: self.live.of(whole)[0]}


class WithCamera(Derived):
    """A source whose images were all taken by one camera, or by one that is assumed.

    Args:
        source: of images.
        camera: focal lengths and middle, in pixels of the whole image (pinhole.py).
        field_of_view: degrees along the longer side, where no camera is given; 60 if not told.

    Raises:
        ConfigurationError: no camera has these numbers.
    """

    def __init__(
        self,
        source: Source,
        camera: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
    ):
        super().__init__(source)
        self.lens = Lens(camera, field_of_view)
        self.has.add("camera")

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`. "camera" is (4,)."""
        needs = self.has if needs is None else set(needs)
        if "camera" not in needs:
            return self.source.read(index, needs)
        sample = self.source.read(index, {*needs, "image"} - {"camera"})
        height, width = sample["image"].shape[-2:]
        return sample | {"camera": self.lens.camera(height, width)}


class Sized(Derived):
    """A source at another size: its shape kept, then maybe the square in its middle.

    As few-shot depth on NYU is tested (MultiMAE: 256 and 256): nothing else is ever seen of it.

    Args:
        source: of images and maps.
        short_side: pixels of the shorter side, to which a sample is resized; the other is rounded.
        center: pixels a side of the square in the middle that is taken, if any.

    Raises:
        ConfigurationError: the square would be larger than the shorter side.
    """

    def __init__(self, source: Source, short_side: int, center: int | None = None):
        if short_side < 1 or (center is not None and not 0 < center <= short_side):
            raise ConfigurationError(
                f"a square of {center} pixels is not in the middle of images whose shorter side "
                f"is {short_side}"
            )
        super().__init__(source)
        self.short_side, self.center = short_side, center

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        return by_photograph(self.source.read(index, needs), self._sized)

    def _sized(self, sample: Sample) -> Sample:
        height, width = next(value.shape[-2:] for value in sample.values() if value.ndim == 3)
        scale = self.short_side / min(height, width)
        size = round(height * scale), round(width * scale)
        sample = cut(sample, Crop(0, 0, height, width), size)
        if self.center is None:
            return sample
        top, left = (size[0] - self.center) // 2, (size[1] - self.center) // 2
        square = (self.center, self.center)
        return cut(sample, Crop(top, left, *square), square)


class Exchanged(Derived):
    """A source in which every image has another's map: the control of what a map is good for.

    Only for images of one size. Raises ConfigurationError where there is nothing to exchange.
    """

    def __init__(self, source: Source, name: str):
        if name not in source.has - {"image"}:
            raise unknown("map", name, source.has - {"image"})
        if len(source) < 2:
            raise ConfigurationError(f"one image has no other to exchange its {name} with")
        super().__init__(source)
        self.name = name

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        needs = self.has if needs is None else set(needs)
        sample = self.source.read(index, needs)
        if self.name in needs:
            other = (index + len(self) // 2) % len(self)  # half a source away: no neighbor's either
            sample[self.name] = self.source.read(other, {self.name})[self.name]
            sizes = {value.shape[-2:] for value in parted(sample)[0].values() if value.ndim == 3}
            if len(sizes) > 1:
                raise DataError(
                    f"{self.names[index]} and {self.names[other]} are not of one size: their "
                    f"{self.name} cannot be exchanged"
                )
        return sample
