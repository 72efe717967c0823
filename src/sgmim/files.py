"""Files that are whole or not there."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sgmim.errors import FileError


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that is either whole or not there, whatever ends the process or the disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # beside it: see os.replace
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error}") from error
    with suppress(OSError):  # some file systems cannot; the rename is then theirs to keep
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Write what is ready to be written, in the same way."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write a text in the same way."""
    write_bytes(path, text.encode())
