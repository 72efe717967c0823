"""Maps as they are stored: numbers in a file, and beside them a note of what the numbers mean.

A folder of maps may hold a note, `knowledge.json`; sgmim writes one wherever it makes maps.
"""

import json
from dataclasses import dataclass, fields
from math import isfinite
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchvision.io import ImageReadMode, decode_png

from sgmim.data.decoding import MAX_PIXELS, check_pixels, content, named, opened
from sgmim.errors import ConfigurationError, DataError

SUFFIXES = frozenset({".png", ".jpx", ".jp2", ".npy"})
NOTE = "knowledge.json"
NEEDS_16_BITS = 65535 / 2  # a scale of a range as wide as [-1, 1], or narrower


@dataclass(frozen=True)
class Note:
    """What a folder of maps holds. A value is: stored number / scale + low.

    One written by hand need say no more than the scale, the hole, or both.
    """

    name: str = ""  # "depth"
    meaning: str = ""  # of the values, in words, with their unit
    source: str = ""  # what made them: a model, a function
    version: str = ""  # of that source
    scale: float | None = None  # None: as the bits of the file suggest, see `read_map`
    low: float = 0.0
    hole: float | None = None  # the stored number that says: nothing is known here
    direction: str | None = None  # of depth: "near_high" or "far_high"
    kind: str | None = None  # "inverse", "relative" or "metric" depth, "normal", "class", "points"
    bits: int = 16  # of the numbers in the files
    per_image: bool = False  # stretched over a range of each map's own, which its file keeps
    license: str | None = None  # of what made them
    accepted: bool = False  # somebody has taken that license, which is not permissive, on himself
    trained_on: tuple[str, ...] = ()  # benchmarks that the source has seen: "nyu", "kitti"
    max_side: int = 0  # pixels; a larger image has a map of this size, in the image's shape

    def __post_init__(self):
        numbers = [number for number in (self.scale, self.low, self.hole) if number is not None]
        if not all(isinstance(number, int | float) and isfinite(number) for number in numbers):
            raise ConfigurationError("scale, low and hole of a map are finite numbers")
        if self.scale is not None and self.scale <= 0:
            raise ConfigurationError(f"the scale of a map is above zero, not {self.scale}")


def read_note(folder: Path) -> Note | None:
    """The note of a folder of maps, None where there is none. DataError where it is broken."""
    path = folder / NOTE
    if not path.is_file():
        return None
    with named(path):
        return parse_note(path.read_text(encoding="utf-8"))


def parse_note(text: str) -> Note:
    """The note that a text is. Raises all kinds where it is broken."""
    found = dict(json.loads(text, parse_int=float))
    found["trained_on"] = tuple(found.get("trained_on", ()))
    found |= {name: int(found[name]) for name in ("max_side", "bits") if name in found}
    return Note(**{field.name: found[field.name] for field in fields(Note) if field.name in found})


def read_map(
    path: str | PathLike,
    *,
    scale: float | None = None,
    low: float = 0.0,
    hole: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Float[Tensor, "c H W"]:
    """Stored number / scale + low, and NaN where the stored number is `hole`.

    Without a scale, 16 bits are divided by 65536 as in MultiMAE's and SG-MIM's depth (SG-MIM,
    `data_sgmim.py`), 8 bits by 255, and .npy is taken as it is: (H, W) or (c, H, W).
    A palette image gives its indices. Raises DataError, which names the file, if it is broken, or
    if it has 8 bits where the scale is one of 16.
    """
    numbers, full = stored_numbers(path, max_pixels)
    if numbers.dtype == torch.uint8 and scale is not None and scale >= NEEDS_16_BITS:
        raise DataError(
            f"{path} has 8 bits, but its folder's note (or 'scale') says {scale:g}, which 16-bit "
            f"numbers are divided by; make the maps again in 16 bits, or give them a scale of 255"
        )
    return to_values(numbers, scale or full, low, hole)


def to_values(
    numbers: Shaped[Tensor, "c H W"], scale: float, low: float = 0, hole: float | None = None
) -> Float[Tensor, "c H W"]:
    """What stored numbers mean, see `Note`; NaN where they are a hole."""
    values = numbers.float()
    unknown = None if hole is None else values == hole
    if scale != 1:
        values /= scale
    if low:
        values += low
    return values if unknown is None else values.masked_fill_(unknown, torch.nan)


def to_numbers(
    values: Float[Tensor, "c H W"],
    scale: float,
    low: float = 0,
    hole: float | None = None,
    most: int = 65535,
) -> Float[Tensor, "c H W"]:
    """The numbers to store for some values, those beyond 0 and `most` clipped; no known value is
    stored as the number of a hole. DataError where values are unknown and there is no hole."""
    numbers = ((values - low) if low else values).mul(scale).round_().clamp_(0, most)
    all_known = torch.stack(values.aminmax()).isfinite().all()  # a tenth of the time of asking each
    if hole is None:
        if not all_known:
            raise DataError("it has values that are no numbers, and no hole for them")
        return numbers
    beside = hole + 1 if hole < most else hole - 1
    numbers = numbers.masked_fill(numbers == hole, beside)
    return numbers if all_known else numbers.masked_fill(~values.isfinite(), hole)


def full_scale(numbers: Tensor) -> float:
    """What numbers are divided by for want of a better scale: by their bits."""
    return 255.0 if numbers.dtype == torch.uint8 else 65536.0


def map_size(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width, from the file's header."""
    if str(path).lower().endswith(".npy"):
        height, width = _array(path, max_pixels).shape[-2:]
        return height, width
    with opened(path, max_pixels) as image:
        return image.height, image.width


def within(height: int, width: int, max_side: int) -> tuple[int, int]:
    """The size of an image's map: its own, or the longer side at most so many pixels, if not 0."""
    longer = max(height, width)
    if not max_side or longer <= max_side:
        return height, width
    return max(1, round(height * max_side / longer)), max(1, round(width * max_side / longer))


def is_within(size: tuple[int, int], whole: tuple[int, int], max_side: int) -> bool:
    """Whether a map is as large as that, to a pixel: whoever made it may have rounded otherwise."""
    due = within(*whole, max_side)
    return all(abs(there - side) <= 1 for there, side in zip(size, due, strict=True))


def stored_numbers(path: str | PathLike, max_pixels: int) -> tuple[Tensor, float]:
    """The numbers in a file (c, H, W), and what they are divided by for want of a better scale."""
    if str(path).lower().endswith(".npy"):
        array = _array(path, max_pixels)
        with named(path):
            values = torch.from_numpy(np.array(array, np.float32))
        return values.reshape(-1, *array.shape[-2:]), 1.0
    with opened(path, max_pixels) as image:
        if image.format == "PNG" and image.mode != "P":  # Pillow halves the bits of color
            values = decode_png(content(image), ImageReadMode.UNCHANGED)
        else:
            values = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)
            values = values.permute(2, 0, 1)
    return values, full_scale(values)


def _array(path: str | PathLike, max_pixels: int) -> np.ndarray:
    with named(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim not in (2, 3):
            raise DataError(f"{path} is {array.ndim}-dimensional; a map is (H, W) or (c, H, W)")
        height, width = array.shape[-2:]
        check_pixels(path, height, width, max_pixels)
        return array


def read_range(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> tuple[float, float] | None:
    """The least and the greatest raw value of a map that was stretched over a range of its own
    (`Note.per_image`), None where its file says nothing of that. DataError where it is broken.

    A raw value is: least + value * (greatest - least), or 1 - value where the raw has near = high.
    """
    with opened(path, max_pixels) as image:
        said = image.info.get("range")
        if said is None:
            return None
        low, high = (float(word) for word in str(said).split())  # in `opened`, which names the file
        return low, high
