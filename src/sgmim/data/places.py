"""Where packed data is: a folder, or a URL whose files are kept in a folder of bounded size.

Files are read by offset and not mapped into memory: a bad sector is then an error that names the
file, not a signal that ends the process, and it takes no longer (7 us a sample).
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from sgmim.data.index import File
from sgmim.errors import ConfigurationError, DataError, FileError

CHUNK = 1 << 22  # bytes at once
PATIENCE = 600  # seconds to wait for room, which other processes' downloads take
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sgmim"


class Place(Protocol):
    """Files by their names, which are paths inside the place."""

    def text(self, name: str) -> str | None:
        """A small file, None where there is none."""
        ...

    def path(self, file: File) -> Path:
        """The file on this machine."""
        ...

    def read(self, file: File, offset: int, size: int) -> bytearray:
        """A part of the file. DataError where it has no such part or another size than it had."""
        ...

    def forget(self, file: File) -> None:
        """The file was found damaged: where it is a copy, take another next time."""
        ...


class Folder:
    """A folder on this machine."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise FileError(f"there is no folder {folder}")
        self.folder = folder

    def text(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_bytes().decode(errors="replace") if path.is_file() else None

    def path(self, file: File) -> Path:
        return self.folder / file.name

    def read(self, file: File, offset: int, size: int) -> bytearray:
        return _part(_kept_open(f"{self.folder}/{file.name}"), file, offset, size)

    def forget(self, file: File) -> None:
        """Nothing to be done: it is no copy."""


class Remote:
    """A URL of any file system that fsspec knows, and a cache of whole files.

    Processes and URLs may share the cache. It holds no more than `most` bytes, and drops what was
    not used for longest to make room; a file is there in whole or not at all, and has the CRC32C
    that the index says.
    """

    def __init__(self, url: str, cache: Path, most: int):
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ConfigurationError("URLs need fsspec: pip install 'sgmim[shards]'") from error
        try:
            self.files, self.root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"{url} cannot be opened: {error}") from error
        self.url, self.most, self.cache = url.rstrip("/"), most, Path(cache)
        self.prefix = hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def text(self, name: str) -> str | None:
        with self._reached(name):
            try:
                return self.files.cat_file(f"{self.root}/{name}").decode(errors="replace")
            except FileNotFoundError:
                return None

    def path(self, file: File) -> Path:
        kept = self._kept(file)
        if not kept.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            with _locked(kept.with_name(f".{kept.name}.lock")):
                if not kept.exists():
                    self._fetch(file, kept)
        return kept

    def read(self, file: File, offset: int, size: int) -> bytearray:
        while True:
            kept = self.path(file)
            with suppress(FileNotFoundError), open(kept, "rb", buffering=0) as opened:
                os.utime(kept)  # used last
                return _part(opened, file, offset, size)

    def check_room(self, file: File) -> None:
        """ConfigurationError where the cache could not hold a file even if it were empty."""
        if file.size > self.most:
            raise ConfigurationError(
                f"{self.url}/{file.name} alone has {file.size / 1e9:.3g} GB; a cache of "
                f"{self.most / 1e9:.3g} GB cannot hold it"
            )

    def forget(self, file: File) -> None:
        self._kept(file).unlink(missing_ok=True)

    def _kept(self, file: File) -> Path:
        # another content is another file, should the data at the URL be replaced
        return self.cache / f"{self.prefix}-{file.crc:08x}-{file.name.replace('/', '-')}"

    def _fetch(self, file: File, kept: Path) -> None:
        partial = kept.with_name(f".{kept.name}.partial")
        partial.unlink(missing_ok=True)  # of a process that was killed
        try:
            self._make_room(file, partial)
            with (
                self._reached(file.name),
                self.files.open(f"{self.root}/{file.name}", "rb") as there,
                open(partial, "r+b") as here,
            ):
                shutil.copyfileobj(there, here, CHUNK)
            size, crc = partial.stat().st_size, checksum(partial)
            if (size, crc) != (file.size, file.crc):
                raise DataError(
                    f"{self.url}/{file.name} has {size} bytes with CRC32C {crc:08x}; it was "
                    f"packed with {file.size} and {file.crc:08x}"
                )
            with self._alone():
                os.replace(partial, kept)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, file: File, partial: Path) -> None:
        """Take the room of a file, which others then leave alone."""
        self.check_room(file)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self._alone():
                if self._dropped_to(self.most - file.size):
                    with open(partial, "wb") as out:
                        out.truncate(file.size)
                    return
            time.sleep(0.05)
        raise DataError(f"for {PATIENCE} s there was no room in {self.cache} for {file.name}")

    def _dropped_to(self, most: int) -> bool:
        found = {}
        for path in self.cache.iterdir():
            with suppress(FileNotFoundError):  # a download that was given up
                if path.suffix != ".lock":
                    found[path] = path.stat()
        size = sum(each.st_size for each in found.values())
        for path in sorted(found, key=lambda path: found[path].st_mtime):
            if size <= most:
                break
            needed = path.suffix == ".bin" and path.name.startswith(self.prefix)  # it stays mapped
            if not needed and (path.suffix != ".partial" or _abandoned(path)):
                path.unlink(missing_ok=True)
                size -= found[path].st_size
        return size <= most

    def _alone(self) -> AbstractContextManager[None]:
        """Nobody else makes room, or takes it, or turns a download into a file."""
        return _locked(self.cache / "room.lock")

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, DataError):
            raise
        except Exception as error:  # each file system has its own
            raise DataError(f"{self.url}/{name} cannot be read: {error}") from error


def checksum(path: Path) -> int:
    """CRC32C of a file."""
    crc32c, total = checksums(), 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            total = crc32c.extend(total, chunk)
    return total


def checksums() -> Any:
    """The library that sums up."""
    try:
        import google_crc32c
    except ImportError as error:
        raise ConfigurationError("packed data needs 'pip install sgmim[shards]'") from error
    return google_crc32c


@lru_cache(maxsize=128)  # a process may hold 1024 open by default, and a run needs others
def _kept_open(path: str) -> FileIO:
    return FileIO(path)


def _part(opened: FileIO, file: File, offset: int, size: int) -> bytearray:
    there = os.fstat(opened.fileno()).st_size
    if there != file.size or offset + size > there:
        raise DataError(
            f"{file.name} has {there} bytes, not {file.size}, or none at {offset} + {size}"
        )
    content = bytearray(os.pread(opened.fileno(), size, offset))
    if len(content) != size:
        raise DataError(f"{file.name} ends before {offset} + {size}")
    return content


def _abandoned(partial: Path) -> bool:
    """Whether whoever was writing it is gone, and with that the lock."""
    with open(partial.with_name(partial.name.replace(".partial", ".lock")), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
