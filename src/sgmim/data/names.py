"""Millions of names without millions of strings: one text, and where each name ends in it.

Strings are made when they are asked for. So they cost no memory and no time at the start, and
processes that are forked share them: Python's own would be copied as soon as they are counted.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from sgmim.errors import DataError


class Names(Sequence):
    """A row of names. A slice is a list.

    Args:
        text: all names, one after another, in UTF-8; bytes, or a file mapped into memory.
        ends: where each ends in it, behind a 0 for where the first begins.
        checked: names come from a stranger: one that would lead out of a folder is a DataError.
    """

    def __init__(
        self, text: bytes | bytearray | memoryview, ends: np.ndarray, *, checked: bool = False
    ):
        self.text, self.ends, self.checked = text, ends, checked

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        text, ends = bytearray(), array("Q", [0])
        for name in names:
            text += encode(name)
            ends.append(len(text))
        return cls(text, np.array(ends))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no name {index} of {len(self)}")
        index %= len(self)
        name = bytes(self.text[int(self.ends[index]) : int(self.ends[index + 1])])
        return inside(decode(name)) if self.checked else decode(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list


class Chosen(Sequence):
    """Some of a row of names, by their numbers."""

    def __init__(self, names: Sequence[str], indices: Sequence[int]):
        self.names, self.indices = names, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.names[number] for number in self.indices[index]]
        return self.names[self.indices[index]]


def encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")  # file names may be any bytes


def decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def inside(name: str) -> str:
    """The name, if it is a path that leads into a folder and not out of it; else DataError."""
    if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise DataError(f"{name!r} is no path inside a folder; the data is damaged or malicious")
    return name
