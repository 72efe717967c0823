"""The index of packed data: where every sample lies in its shards, and what its bytes sum up to.

One file, which is mapped into memory and not read; numbers are little-endian.

  header   one line of JSON, filled up with blanks to a multiple of 64 bytes
  files    for every shard and modality: size u64, CRC32C u32, 0 u32
  starts   for every shard the number of its first sample, and the count of all: u64
  members  for every sample and modality: offset in the file u64, size u32, CRC32C u32
  ends     0, and where every name ends: u64
  names    of the images, as they were called before, in UTF-8
"""

import json
import mmap
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sgmim.data.names import Names
from sgmim.errors import DataError

FORMAT = "sgmim shards 1"
ENTRY = struct.Struct("<QII")
HEADER_LIMIT = 1 << 16


class File(NamedTuple):
    """A shard of one modality."""

    name: str  # from the folder of all: "depth/00003.tar"
    size: int
    crc: int


class Member(NamedTuple):
    """The part of a file that one sample has."""

    offset: int
    size: int
    crc: int


def file_name(modality: str, shard: int) -> str:
    return f"{modality}/{shard:05d}.tar"


class Index:
    """An index on disk. DataError where it is damaged, or not one at all.

    Whatever it says is checked before it is relied upon: it may come from a stranger.
    """

    def __init__(self, path: Path | str):
        self.path = str(path)
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size < 64:
                raise self._damaged("it is too short")
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.modalities, self.count, self.shards, text = self._header()
        per_sample = ENTRY.size * len(self.modalities)
        sizes = (
            self._header_size,
            self.shards * per_sample,
            8 * (self.shards + 1),
            self.count * per_sample,
            8 * (self.count + 1),
            text,
        )
        self._places = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        if self._places[-1] != size:
            raise self._damaged(f"it has {size} bytes, not {self._places[-1]}")
        self.starts = self._numbers(1, self.shards + 1).tolist()
        if self.starts != sorted(self.starts) or self.starts[:: self.shards] != [0, self.count]:
            raise self._damaged("its shards do not hold its samples")

    def file(self, shard: int, modality: int) -> File:
        place = self._places[0] + ENTRY.size * (shard * len(self.modalities) + modality)
        size, crc, _ = ENTRY.unpack_from(self.map, place)
        return File(file_name(self.modalities[modality], shard), size, crc)

    def shard(self, index: int) -> int:
        """The shard that a sample is in."""
        return bisect_right(self.starts, index) - 1

    def member(self, index: int, modality: int) -> Member:
        place = self._places[2] + ENTRY.size * (index * len(self.modalities) + modality)
        return Member(*ENTRY.unpack_from(self.map, place))

    @cached_property
    def names(self) -> Names:
        ends = self._numbers(3, self.count + 1)
        return Names(memoryview(self.map)[self._places[4] :], ends, checked=True)

    def section(self, number: int) -> memoryview:
        """The bytes of one of the sections after the header."""
        return memoryview(self.map)[self._places[number] : self._places[number + 1]]

    def _numbers(self, section: int, count: int) -> np.ndarray:
        return np.frombuffer(self.map, "<u8", count, self._places[section])

    def _header(self) -> tuple[tuple[str, ...], int, int, int]:
        line = self.map[:HEADER_LIMIT].partition(b"\n")[0]
        self._header_size = len(line) + 1
        try:
            said: dict[str, Any] = json.loads(line)
            if said["format"] != FORMAT:
                raise ValueError(f"its format is {said['format']!r}, not {FORMAT!r}")
            counts = [said[name] for name in ("samples", "shards", "text")]
            if any(type(count) is not int or count < 0 for count in counts) or not counts[1]:
                raise ValueError(f"it counts {counts}")
            names = said["modalities"]
            if not names or not all(type(name) is str and name.isidentifier() for name in names):
                raise ValueError(f"its modalities are {names}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from error
        return tuple(names), *counts

    def _damaged(self, reason: str) -> DataError:
        return DataError(f"{self.path} is no index of shards, or damaged: {reason}")


@dataclass
class Entry:
    """A sample that was written."""

    name: str
    members: Sequence[Member]  # one a modality


def piece(modalities: Sequence[str], files: Sequence[File], entries: Sequence[Entry]) -> bytes:
    """The index of one shard."""
    text = Names.of(entry.name for entry in entries)
    return b"".join(
        (
            header(modalities, len(entries), 1, len(text.text)),
            *(ENTRY.pack(file.size, file.crc, 0) for file in files),
            struct.pack("<QQ", 0, len(entries)),
            *(ENTRY.pack(*member) for entry in entries for member in entry.members),
            text.ends.astype("<u8").tobytes(),
            bytes(text.text),
        )
    )


def join(modalities: Sequence[str], pieces: Sequence[Path]) -> Iterator[bytes | memoryview]:
    """The index of all shards, from theirs, part by part. There may be more of them than files that
    a process can have open."""
    counts = [Index(path).count for path in pieces]
    texts = [len(Index(path).section(4)) for path in pieces]
    yield header(modalities, sum(counts), len(pieces), sum(texts))
    yield from (Index(path).section(0) for path in pieces)
    yield np.cumsum([0, *counts], dtype="<u8").tobytes()
    yield from (Index(path).section(2) for path in pieces)
    yield np.zeros(1, "<u8").tobytes()
    before = np.cumsum([0, *texts], dtype="<u8")
    for path, start in zip(pieces, before, strict=False):
        yield (np.frombuffer(Index(path).section(3), "<u8")[1:] + start).astype("<u8").tobytes()
    yield from (Index(path).section(4) for path in pieces)


def header(modalities: Sequence[str], samples: int, shards: int, text: int) -> bytes:
    said = {"format": FORMAT, "modalities": list(modalities), "samples": samples}
    line = json.dumps(said | {"shards": shards, "text": text}).encode()
    return line + b" " * (-(len(line) + 1) % 64) + b"\n"
