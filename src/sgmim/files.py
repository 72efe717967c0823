"""Files that are whole or not there."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sgmim.errors import FileError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, flushed: bool = True) -> None:
    """Write a file that is either whole or not there, whatever ends the process or the disk.

    Where it is not `flushed` to the disk at once, that holds for whatever ends the process; a
    machine that loses power may lose the end of a file that was renamed just before.

    Raises:
        FileError: it cannot be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # beside it: see os.replace
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w+b") as file:
            write(file)
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise failure(path, error) from error
    if not flushed:
        return
    with suppress(OSError):  # some file systems cannot; the rename is then theirs to keep
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_bytes(path: Path, content: bytes, *, flushed: bool = True) -> None:
    """Write what is ready to be written, in the same way."""
    write_whole(path, lambda file: file.write(content), flushed=flushed)


def write_text(path: Path, text: str) -> None:
    """Write a text in the same way."""
    write_bytes(path, text.encode())


def failure(path: Path, error: Exception) -> FileError:
    """What to say where a file cannot be written."""
    # torch raises a RuntimeError over the disk's own word
    reason = error.__context__ if isinstance(error.__context__, OSError) else error
    full = isinstance(reason, OSError) and reason.errno in FULL
    what = "; what was saved before is untouched: make room, and give the command again"
    return FileError(f"cannot write {path}: {reason}{what * full}")


def sweep(folder: Path, *, below: bool = False) -> None:
    """Remove what a process that was killed has left half written in a folder, or also below it."""
    for torn in (folder.rglob if below else folder.glob)(".*.partial"):
        torn.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is at `path` when the context ends well, and nowhere if not.

    Raises:
        FileError: it cannot be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    before = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.exists():
            os.replace(path, before)
        os.replace(partial, path)
    except FileError:
        raise
    except OSError as error:
        raise failure(path, error) from error
    finally:
        if before.exists() and not path.exists():
            os.replace(before, path)
        for folder in (partial, before):
            shutil.rmtree(folder, ignore_errors=True)
