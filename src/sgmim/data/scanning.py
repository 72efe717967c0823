"""What is in a folder or list of images: their kinds and sizes, what is broken, how fast they load.

Every image is decoded, as training would; what is found is counted, and counts add up.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from sgmim import draws
from sgmim.data import decoding
from sgmim.data.crops import random_crop
from sgmim.data.geometry import cut
from sgmim.data.images import Images
from sgmim.data.processes import cores, shared
from sgmim.errors import ConfigurationError, DataError

TOGETHER = 64  # images that a process is given at once
SPARSE = 4  # every fourth pixel, down and across, is enough for means
QUANTILES = (0, 0.01, 0.1, 0.5, 0.9, 0.99, 1)


@dataclass
class Findings:
    """What was found so far."""

    count: int = 0  # images looked at
    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)  # as Pillow calls them: RGB, L, CMYK
    short_sides: Counter[int] = field(default_factory=Counter)  # in pixels
    colors: np.ndarray = field(default_factory=lambda: np.zeros(3))  # sum of colors in [0, 1]
    squares: np.ndarray = field(default_factory=lambda: np.zeros(3))
    pixels: int = 0  # that these are of
    seconds: float = 0.0  # that one core took to load them
    broken: dict[str, str] = field(default_factory=dict)  # file -> reason

    def __add__(self, other: "Findings") -> "Findings":
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        broken = self.broken | other.broken
        sums = {name: one + two for name, (one, two) in pairs.items() if name != "broken"}
        return Findings(**sums, broken=broken)

    def report(self, rate: float) -> dict[str, Any]:
        """The numbers; `rate` is how many images a second one GPU takes."""
        whole = self.count - len(self.broken)
        report = {"images": self.count, "broken": len(self.broken), "bytes": self.bytes}
        if not whole:
            return report
        sides = np.array(sorted(self.short_sides.elements()))
        mean = self.colors / self.pixels
        one = whole / max(self.seconds, 1e-9)
        return report | {
            "formats": dict(self.formats.most_common()),
            "modes": dict(self.modes.most_common()),
            "short_side": {f"{q:.0%}": int(np.quantile(sides, q)) for q in QUANTILES},
            "mean": mean.round(4).tolist(),
            "deviation": np.sqrt((self.squares / self.pixels - mean**2).clip(0)).round(4).tolist(),
            "images_per_second_and_core": round(one, 1),
            "images_per_second_of_gpu": rate,
            "workers_per_gpu": ceil(rate / one),
        }


def scan(
    images: Path,
    *,
    root: Path | None = None,
    count: int | None = None,
    size: int = 192,
    workers: int | None = None,
    max_pixels: int = decoding.MAX_PIXELS,
) -> Iterator[tuple[Findings, int]]:
    """What was found so far, again and again, and how many images are to be looked at.

    Args:
        images: a folder, at any depth, or a list (.txt, .csv).
        root: where the paths of a list start, and may not leave; the list's folder if not given.
        count: look at only so many, evenly spread.
        size: of the crops that loading is measured with, pixels a side.
        workers: processes; 0 is none beside this one; as many as there are cores if not given.
        max_pixels: an image that claims to be larger is broken.

    Raises:
        ConfigurationError: a number that cannot be.
        DataError: there is no image.
        FileError: there is no such folder or list.
    """
    if size < 1 or (workers or 0) < 0 or (count is not None and count < 1):
        raise ConfigurationError("count and size are 1 or more, workers 0 or more")
    source = Images(images, root=root, max_pixels=max_pixels, check=False)
    many = min(count or len(source), len(source))
    chosen = [range(i, min(i + TOGETHER, many)) for i in range(0, many, TOGETHER)]
    scanner, found = Scanner(source, many, size), Findings()
    for part in shared(scanner, chosen, cores() if workers is None else workers):
        found += part
        yield found, many


@dataclass(frozen=True)
class Scanner:
    """Looks at some images, by their numbers among those to be looked at."""

    source: Images
    many: int
    size: int

    def __call__(self, numbers: range) -> Findings:
        found = Findings()
        for number in numbers:
            index = number * len(self.source) // self.many
            found.count += 1
            try:
                self._look(index, found)
            except DataError as error:
                found.broken[self.source.path(index)] = str(error)
        return found

    def _look(self, index: int, found: Findings) -> None:
        path, began = self.source.path(index), perf_counter()
        image = self.source.read(index)["image"]
        height, width = image.shape[-2:]
        crop = random_crop(draws.key(0, 0, index), height, width)
        cut({"image": image}, crop, (self.size, self.size))
        found.seconds += perf_counter() - began
        found.bytes += Path(path).stat().st_size
        kind, mode = decoding.kind(path, self.source.max_pixels)
        found.formats[kind] += 1
        found.modes[mode] += 1
        found.short_sides[min(height, width)] += 1
        self._add_colors(image, found)

    def _add_colors(self, image: Tensor, found: Findings) -> None:
        colors = image[:, ::SPARSE, ::SPARSE].flatten(1).double().numpy() / 255
        found.colors += colors.sum(1)
        found.squares += (colors**2).sum(1)
        found.pixels += colors.shape[1]
