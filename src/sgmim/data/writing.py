"""How a sample is written into shards: its name, its size, its image and maps as bytes."""

import io
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from sgmim.data import decoding, stored
from sgmim.data.geometry import Crop, cut
from sgmim.data.images import Images
from sgmim.data.listing import stem
from sgmim.data.png import encode_png
from sgmim.errors import ConfigurationError, DataError

Encoding = Literal["png16", "png8", "jpeg8"]


@dataclass(frozen=True)
class Writer:
    """Turns samples of a source into bytes.

    short_side: what larger images are made smaller to, pixels; 0 keeps every size.
    quality: of JPEG; what is small enough, RGB, upright and JPEG is kept as it is.
    """

    source: Images
    maps: dict[str, "Store"]
    short_side: int
    quality: int

    @property
    def suffixes(self) -> tuple[str, ...]:
        return "jpg", *(store.encoding[:3].replace("jpe", "jpg") for store in self.maps.values())

    def __call__(self, index: int) -> list[bytes]:
        """Image and maps of one sample. DataError, which names the file, where it is broken."""
        sample, path = self.source.read(index), self.source.path(index)
        height, width = sample["image"].shape[-2:]
        size, kept = smaller(height, width, self.short_side), None
        if size == (height, width):
            kept = decoding.plain_jpeg(path, self.source.max_pixels)
        else:
            sample = cut(sample, Crop(0, 0, height, width), size)
        image = kept or _encoded(sample["image"], "JPEG", self.quality)
        try:
            return [image, *(s.encode(sample[name], self.quality) for name, s in self.maps.items())]
        except DataError as error:
            raise DataError(f"a map of {path}: {error}") from error


@dataclass(frozen=True)
class Store:
    """How a map is stored."""

    encoding: Encoding
    note: stored.Note

    @property
    def most(self) -> int:
        return 65535 if self.encoding == "png16" else 255

    def encode(self, values: Tensor, quality: int) -> bytes:
        note = self.note
        assert note.scale is not None, "see `make_store`"
        numbers = stored.to_numbers(values, note.scale, note.low, note.hole, self.most)
        if self.encoding == "png16":
            return encode_png(numbers.numpy().astype(np.uint16))
        if len(numbers) not in (1, 3):
            raise DataError(f"8 bits have no place for its {len(numbers)} channels")
        return _encoded(numbers.byte(), "JPEG" if self.encoding == "jpeg8" else "PNG", quality)


def make_store(source: Images, name: str, encoding: Encoding) -> Store:
    """How the numbers of a map are kept: as they are, or made to fit into 8 bits.

    Raises ConfigurationError where that cannot be.
    """
    maps = source.maps[name]
    if ".npy" in {suffix.lower() for suffix in maps.suffixes}:
        raise ConfigurationError(
            f"{name} maps in .npy have no known range; make 16-bit PNGs of them"
        )
    full = _full_scale(source, name)
    scale, hole = maps.note.scale or full, maps.note.hole
    if hole is not None and (hole != int(hole) or not 0 <= hole <= 65535):
        hole = 0.0
    if encoding != "png16":
        hole = None if hole is None else 0.0
        if full != 255:  # 16 bits to 8; those of [0, 1] are shares of 255 whoever wrote them
            scale = 255.0 if scale in (65535, 65536) else scale / 257
    if encoding == "jpeg8" and hole is not None:
        raise ConfigurationError(f"JPEG blurs the holes of {name}; its encoding may be png8")
    note = replace(maps.note, scale=scale, hole=hole, max_side=0)  # now as large as its image
    return Store(encoding, replace(note, name=note.name or name))


def _full_scale(source: Images, name: str) -> float:
    """By the bits of the first map that can be read."""
    for index, image in enumerate(source.names):
        with suppress(DataError):
            path = source.maps[name].path(index, image)
            return stored.stored_numbers(path, source.max_pixels)[1]
    raise DataError(f"none of the {name} maps can be read")


def smaller(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The size of an image whose short side is at most so long, unless that is 0."""
    short = min(height, width)
    if not short_side or short <= short_side:
        return height, width
    return round(height * short_side / short), round(width * short_side / short)


def key(name: str) -> str:
    """What webdataset knows an image by: its path without the suffix. It would end at the first dot
    of the file's name and pass over what begins with two underscores, so these are escaped."""
    folder, slash, file = stem(name).replace("%", "%25").rpartition("/")
    path = folder + slash + file.replace(".", "%2E")
    return "%5F" + path[1:] if path.startswith("__") else path


def _encoded(pixels: UInt8[Tensor, "c H W"], kind: str, quality: int) -> bytes:
    file, array = io.BytesIO(), pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if len(pixels) == 1 else array)
    # optimized tables: 3 % smaller, and as much faster to read
    image.save(file, kind, **({"quality": quality, "optimize": True} if kind == "JPEG" else {}))
    return file.getvalue()
