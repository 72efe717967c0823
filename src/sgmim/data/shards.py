"""Packed images and maps: every sample is found at once, by its number, and its bytes are checked.

packed/shards.json                         how it was packed
packed/index.bin                           where every sample lies (index.py)
packed/image/00000.tar                     as webdataset names things: summer/lake.jpg
packed/depth/00000.tar                     the same samples in the same order: summer/lake.png
packed/depth/knowledge.json                what the numbers in the maps mean (stored.py)

`packing.py` makes them.
"""

import json
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode

from sgmim.data import decoding, stored
from sgmim.data.geometry import RULES
from sgmim.data.images import Sample
from sgmim.data.index import File, Index
from sgmim.data.listing import MANIFEST
from sgmim.data.names import Names
from sgmim.data.places import CACHE, Folder, Place, Remote, checksums
from sgmim.errors import DataError, FileError

INDEX = "index.bin"


class Shards:
    """Samples that 'sgmim data pack' packed, in a folder or at a URL.

    where: the folder; or a URL of any file system that fsspec knows, such as s3://bucket/packed.
    cache: the folder for shards from a URL.
    cache_gb: what it may hold, in 10^9 bytes. With less than the data, random order fetches every
        shard again and again.
    max_pixels: what claims to be larger is refused before it is decoded.

    What is read is compared with the CRC32C of the index every time: DataError names shard and
    sample where it is not what was packed. Raises FileError where nothing is, DataError where the
    index or a note is damaged or the packing was not finished, ConfigurationError where the cache
    is too small or a library is missing. It may be pickled, and used in forked processes.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        cache: Path | None = None,
        cache_gb: float = 50.0,
        max_pixels: int = decoding.MAX_PIXELS,
    ):
        self.where, self.max_pixels = str(where), max_pixels
        self.crc = checksums().value
        self.place: Place = (
            Remote(self.where, cache or CACHE, int(1e9 * cache_gb))
            if "://" in self.where
            else Folder(Path(where))
        )
        self.file = self._file()
        if not self.index.count or "image" not in self.index.modalities:
            raise DataError(f"{self.where} holds no images")
        if isinstance(self.place, Remote):
            self.place.check_room(self._largest())
        self.has = set(self.index.modalities)
        self.notes = {name: self._note(name) for name in self.index.modalities if name != "image"}

    def __len__(self) -> int:
        return self.index.count

    @cached_property
    def index(self) -> Index:
        return Index(self.place.path(self.file))

    @property
    def names(self) -> Names:
        return self.index.names

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        sample = {}
        for number, name in enumerate(self.index.modalities):
            if needs is None or name in needs:
                try:
                    sample[name] = self._decoded(name, self._content(index, number))
                except Exception as error:  # decoders raise all kinds
                    raise DataError(f"{self._told(index, name)}: {error}") from error
        sizes = {value.shape[1:] for value in sample.values()}
        if len(sizes) > 1:
            raise DataError(f"{self._told(index, 'image')} and its maps are not of one size")
        return sample

    def _content(self, index: int, modality: int) -> bytearray:
        file = self.index.file(self.index.shard(index), modality)
        member = self.index.member(index, modality)
        content = self.place.read(file, member.offset, member.size)
        found = self.crc(np.frombuffer(content, np.uint8))
        if found != member.crc:
            self.place.forget(file)
            raise DataError(
                f"its bytes are not those that were packed (CRC32C {found:08x}, not "
                f"{member.crc:08x}); 'sgmim data check' finds all such"
            )
        return content

    def _decoded(self, name: str, content: bytearray) -> Tensor:
        if name == "image":
            image = decoding.decode(content, self.max_pixels, ImageReadMode.RGB)
            if image.dtype != torch.uint8:
                raise DataError("it has more than 8 bits, which no image was packed with")
            return image
        numbers, note = decoding.decode(content, self.max_pixels), self.notes[name]
        is_share = (note.scale, note.low, note.hole) == (255, 0, None)
        if is_share and numbers.dtype == torch.uint8 and name not in RULES:
            return numbers  # as `Sample` has it
        return stored.to_values(
            numbers, note.scale or stored.full_scale(numbers), note.low, note.hole
        )

    def _file(self) -> File:
        """The index, as the manifest speaks of it."""
        text = self.place.text(MANIFEST)
        if text is None:
            raise FileError(f"{self.where} holds no {MANIFEST}: 'sgmim data pack' makes it")
        try:
            said: dict[str, Any] = dict(json.loads(text))
            index = dict(said.get("index", {}))
            file = File(INDEX, int(index.get("size", 0)), int(index.get("crc", 0)))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"{self.where}/{MANIFEST} is damaged: {error}") from error
        if not index:
            raise DataError(f"{self.where} was not packed to the end; the same command goes on")
        return file

    def _largest(self) -> File:
        modalities, shards = range(len(self.index.modalities)), range(self.index.shards)
        return max(
            (self.index.file(s, m) for s in shards for m in modalities), key=lambda f: f.size
        )

    def _note(self, name: str) -> stored.Note:
        text = self.place.text(f"{name}/{stored.NOTE}")
        if text is None:
            raise DataError(f"{self.where}/{name} has no {stored.NOTE}, so nobody can read it")
        with decoding.named(f"{self.where}/{name}/{stored.NOTE}"):
            return stored.parse_note(text)

    def _told(self, index: int, name: str) -> str:
        number = self.index.modalities.index(name)
        shard = self.index.file(self.index.shard(index), number).name
        return f"{self.where}/{shard}, sample {index} ({self.names[index]})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "index"}
