"""What is in a folder or list of images: their kinds and sizes, what is broken, how fast they load.

Every image is decoded, as training would; what is counted is small and adds up.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from sgmim import draws
from sgmim.data import decoding
from sgmim.data.geometry import cut, random_crop
from sgmim.data.images import Images
from sgmim.data.processes import cores, shared
from sgmim.errors import ConfigurationError, DataError

TOGETHER = 64  # images at once, for one process
SPARSE = 4  # of pixels every fourth, down and across, is enough for means
QUANTILES = (0, 0.01, 0.1, 0.5, 0.9, 0.99, 1)


@dataclass
class Findings:
    """What was found so far."""

    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)  # format, mode -> images
    suffixes: Counter[str] = field(default_factory=Counter)
    short_sides: Counter[int] = field(default_factory=Counter)  # pixels -> images
    sums: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))  # of colors, of squares
    pixels: int = 0  # that these are of
    bytes: int = 0
    seconds: float = 0.0  # one core took to load them
    broken: dict[str, str] = field(default_factory=dict)
    count: int = 0  # images looked at

    def __iadd__(self, other: "Findings") -> "Findings":
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, mine | value if name == "broken" else mine + value)
        return self

    @property
    def rate(self) -> float:
        """Images a second and core."""
        return (self.count - len(self.broken)) / max(self.seconds, 1e-9)

    def report(self, wanted: float) -> dict[str, Any]:
        """For people and scripts; `wanted` images a second are what a GPU needs."""
        sides = np.repeat(*(np.array(row) for row in zip(*sorted(self.short_sides.items()))))
        mean, squares = self.sums / max(1, self.pixels)
        return {
            "images": self.count,
            "broken": len(self.broken),
            "bytes": self.bytes,
            "formats": _named(Counter({f: 0 for f, _ in self.kinds}), self.kinds, 0),
            "modes": _named(Counter({m: 0 for _, m in self.kinds}), self.kinds, 1),
            "suffixes": dict(self.suffixes.most_common()),
            "short_side": {str(q): int(v) for q, v in zip(QUANTILES, np.quantile(sides, QUANTILES))},
            "mean": mean.round(4).tolist(),
            "deviation": np.sqrt((squares - mean**2).clip(0)).round(4).tolist(),
            "images_per_second_and_core": round(self.rate, 1),
            "images_per_second_wanted": wanted,
            "workers_needed": ceil(wanted / self.rate) if self.rate else None,
        }


def scan(
    images: Path,
    *,
    root: Path | None = None,
    size: int = 224,
    count: int | None = None,
    workers: int | None = None,
    max_pixels: int = decoding.MAX_PIXELS,
) -> Iterator[tuple[Findings, int]]:
    """What was found so far, again and again, and how many images there are to look at.

    Args:
        images: a folder, at any depth, or a list (.txt, .csv).
        root: where the paths of a list start, and may not leave; the list's folder if not given.
        size: of the crops, pixels a side, that loading is measured with.
        count: look at only so many, evenly spread.
        workers: processes; 0 is none beside this one; as many as there are cores if not given.
        max_pixels: an image that claims to be larger is broken.

    Raises:
        ConfigurationError: a count or size that cannot be.
        DataError: there is no image.
        FileError: there is no such folder or list.
    """
