"""A zip file that carries the SHA-256 of itself, so that whatever happens to it is found.

The seal is the archive's comment, in hexadecimal: the end of the file, which whoever reads zip
files passes over. It vouches for every byte before it, and those vouch for it.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sgmim.errors import DataError

SEAL = 64  # characters
AT_ONCE = 1 << 20  # bytes


def seal(file: BinaryIO) -> None:
    """Seal a zip file that was just written, open for reading and writing."""
    file.seek(-2, os.SEEK_END)  # the last field of a zip file is the length of its comment
    assert file.read() == b"\0\0", "only a zip file without a comment can be sealed"
    file.seek(-2, os.SEEK_END)
    file.write(SEAL.to_bytes(2, "little"))
    digest = _digest(file, file.tell())
    file.write(digest)


def check_seal(path: Path) -> None:
    """Read a file from the disk and compare it with its seal.

    Raises:
        DataError: it is not as it was written.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        with suppress(AttributeError, OSError):  # not from memory, where the system can forget it
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(file.fileno()).st_size
        digest = _digest(file, max(0, size - SEAL))
        if size < SEAL or file.read() != digest:
            raise DataError("it is not as it was written: its SHA-256 differs")


def _digest(file: BinaryIO, length: int) -> bytes:
    """Of the first bytes of a file, which is left there."""
    file.seek(0)
    found = hashlib.sha256()
    for place in range(0, length, AT_ONCE):
        found.update(file.read(min(AT_ONCE, length - place)))
    return found.hexdigest().encode()
