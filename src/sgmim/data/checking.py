"""Whether packed data is what was packed: every byte is read, and what is damaged is named."""

import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sgmim.data.index import Index, Member
from sgmim.data.places import checksum, checksums
from sgmim.data.processes import cores, shared
from sgmim.data.shards import Shards
from sgmim.data.writing import key
from sgmim.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class Checked:
    """What was found in the tar files of one shard."""

    number: int  # of shards checked so far
    count: int  # of all
    faults: list[str]


def check(out: Path, *, workers: int | None = None) -> Iterator[Checked]:
    """Read packed data to the last byte, shard by shard.

    In every modality the samples must be there under the same names, in the same order, with the
    CRC32C of the index, and the files with theirs.

    Args:
        out: the folder.
        workers: processes; 0 is none beside this one; as many as there are cores if not given.

    Raises:
        DataError: the index or a note is damaged, so that no more can be said.
        FileError: there is no packed data.
    """
    if ":/" in str(out):  # of which a Path keeps one stroke
        raise ConfigurationError(
            "a check reads a folder; of a URL every shard is checked as it comes"
        )
    checker = Checker(Path(out))
    shards = range(checker.shards)
    found = shared(checker, shards, cores() if workers is None else workers)
    for number, faults in enumerate(found, start=1):
        yield Checked(number, len(shards), faults)


class Checker:
    """Finds what is wrong with a shard, by its number."""

    def __init__(self, out: Path):
        self.data = Shards(out)
        self.out, index = out, self.data.index
        self.shards = index.shards
        if (found := checksum(Path(index.path))) != self.data.file.crc:
            raise DataError(
                f"{index.path} is not what was packed: its CRC32C is {found:08x}, not "
                f"{self.data.file.crc:08x}"
            )

    def __call__(self, shard: int) -> list[str]:
        index, faults = self.data.index, []
        for modality in range(len(index.modalities)):
            file = index.file(shard, modality)
            path = self.out / file.name
            try:
                whole = (path.stat().st_size, checksum(path)) == (file.size, file.crc)
                damaged = list(self._damaged(index, shard, modality))
            except OSError as error:
                faults.append(f"{path} cannot be read: {error}")
                continue
            faults += damaged
            if not whole and not damaged:
                faults.append(f"{path} is not what was packed, though its samples are")
        return faults

    def _damaged(self, index: Index, shard: int, modality: int) -> Iterator[str]:
        """The samples of a tar file that are not where and what the index says."""
        file, start = index.file(shard, modality), index.starts[shard]
        path, inside = self.out / file.name, _members(self.out / file.name)
        for number in range(start, index.starts[shard + 1]):
            name, member = index.names[number], index.member(number, modality)
            told = f"{path}: sample {number} ({name})"
            called, place = next(inside, ("", None))
            if place is None:
                yield f"{told} and what follows is missing, or a header before it is damaged"
                return
            if called != key(name):
                yield f"{told} is called {called} there"
            elif place != member:
                yield f"{told} is damaged: CRC32C {place.crc:08x}, not {member.crc:08x}"


def _members(path: Path) -> Iterator[tuple[str, Member]]:
    """Key, place and checksum of the files in a tar, up to where it is damaged."""
    size = path.stat().st_size
    # a header may claim any size, which is not to be allocated
    with (
        suppress(tarfile.TarError, ValueError, MemoryError, OverflowError),
        tarfile.open(path) as tar,
    ):
        for entry in tar:
            plain = (
                entry.isreg() and not entry.issparse() and entry.offset_data + entry.size <= size
            )
            file = tar.extractfile(entry) if plain else None
            crc = checksums().value(file.read()) if file else 0
            called = entry.name.rpartition(".")[0]
            yield called, Member(entry.offset_data, entry.size, crc)
