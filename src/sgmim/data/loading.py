"""What loading processes do: from the number of a sample to its pixels, cut and ready to be joined.

All of it can be pickled. An error is data here: raised in another process, it would reach the user
as a traceback of that process.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sgmim import draws
from sgmim.data.augmentation import Augmentation
from sgmim.data.crops import Size
from sgmim.data.geometry import Interpolation, fit
from sgmim.data.images import Sample, Source
from sgmim.data.live import Computed, Live
from sgmim.data.mixing import Mixing
from sgmim.errors import DataError

REPLACEMENTS = 10  # tried for one broken file; if all are broken, the disk is at fault


@dataclass
class Cutter:
    """From (epoch, index) to a sample, changed at random, and to what was broken on the way."""

    source: Source
    size: Size
    needs: tuple[str, ...]
    seed: int
    augmentation: Augmentation
    live: Computed = field(default_factory=Computed)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Sample | DataError, dict[str, str]]:
        key = draws.key(self.seed, *place)
        index = place[1]
        broken: dict[str, str] = {}
        for attempt in range(REPLACEMENTS):
            try:
                sample = self.source.read(index, self.live.sources(self.needs))
                return self._cut(key, sample, index), broken
            except DataError as error:
                broken[self.source.names[index]] = str(error)
                index = draws.key(key, attempt) % len(self.source)
        return DataError(f"{REPLACEMENTS} in a row are broken: " + "; ".join(broken.values())), {}

    def _cut(self, key: int, sample: Sample, index: int) -> Sample:
        views = self.augmentation.further(key, sample["image"], self.size, self.needs)
        sample = self.augmentation(key, sample, self.size)
        return _with_live(sample, self.live.crop, self.needs) | views | _numbers(key, index)


def join(
    loaded: list[tuple[Sample | DataError, dict[str, str]]], mixing: Mixing | None = None
) -> tuple[Sample | DataError, dict[str, str]]:
    """Samples to a batch, which may be mixed. An error is handed on, to be raised where the user
    can read it."""
    broken = {name: reason for _, each in loaded for name, reason in each.items()}
    samples = [sample for sample, _ in loaded if not isinstance(sample, DataError)]
    errors = [sample for sample, _ in loaded if isinstance(sample, DataError)]
    try:
        if errors:
            return errors[0], broken
        batch = stack(samples)
        return (mixing(batch) if mixing else batch), broken
    except DataError as error:
        return error, broken


@dataclass
class Fitter:
    """From an index to a sample for evaluation, or to the error that stands in its way."""

    source: Source
    size: Size | None
    needs: tuple[str, ...]
    share: float | None
    live: Computed = field(default_factory=Computed)
    augmentation: Augmentation = field(default_factory=Augmentation)  # of further views alone
    interpolation: Interpolation = "bilinear"

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample | DataError:
        try:
            sample = self.source.read(index, self.live.sources(self.needs))
        except DataError as error:
            return error
        key, image = draws.key(0, 0, index), sample["image"]
        size = self.size or (image.shape[1], image.shape[2])
        views = self.augmentation.further(key, image, size, self.needs)
        if self.size is not None:
            sample = fit(sample, self.size, share=self.share, interpolation=self.interpolation)
        sample = _with_live(sample, self.live.crop, self.needs)
        return sample | views | _numbers(key, index)


def stack(samples: list[Sample]) -> Sample:
    """One batch of them. DataError where some maps of a kind have more channels than others."""
    for name in samples[0]:
        shapes = {tuple(sample[name].shape) for sample in samples}
        if len(shapes) > 1:
            raise DataError(f"not all {name} maps are alike: there are {sorted(shapes)}")
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _with_live(sample: Sample, live: Mapping[str, Live], needs: Collection[str]) -> Sample:
    """A sample with the maps that are computed from the crop."""
    alone = {name: value[None] for name, value in sample.items()}
    return sample | {name: made.of(alone)[0] for name, made in live.items() if name in needs}


def _numbers(key: int, index: int) -> Sample:
    return {"key": torch.tensor(key), "index": torch.tensor(index)}


def as_it_is(sample: Any) -> Any:
    return sample
