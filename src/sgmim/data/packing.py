"""Pack images and their maps into shards, which `shards.py` reads.

A shard is the work of one process. It is written under hidden names; the last thing that is written
of it is its piece of the index, so that a shard with a piece is done. Nothing of a shard depends on
who made it or when: a run that was killed goes on, and ends with the bytes of one that was not.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sgmim import __version__
from sgmim.data import decoding, stored
from sgmim.data.images import Images
from sgmim.data.index import Entry, File, Member, file_name, join, piece
from sgmim.data.listing import MANIFEST
from sgmim.data.names import encode
from sgmim.data.places import checksum, checksums
from sgmim.data.processes import cores, shared
from sgmim.data.shards import INDEX
from sgmim.data.writing import Encoding, Writer, key, make_store
from sgmim.errors import ConfigurationError, DataError, unknown
from sgmim.files import write_bytes, write_text, write_whole

TAR: Any = {"format": tarfile.GNU_FORMAT, "encoding": "utf-8"}  # names of any length
BROKEN, PIECES = "broken.txt", ".pieces"


@dataclass(frozen=True)
class Packed:
    """What has become of one shard."""

    number: int  # of shards done so far
    count: int  # of all
    broken: dict[str, str]  # what was left out, and why


def pack(
    images: Path,
    out: Path,
    *,
    maps: dict[str, Path] | None = None,
    scale: dict[str, float] | None = None,
    hole: dict[str, float] | None = None,
    root: Path | None = None,
    short_side: int = 256,
    quality: int = 90,
    encoding: dict[str, Encoding] | None = None,
    samples: int = 10_000,
    workers: int | None = None,
    broken_share: float = 0.001,
    max_pixels: int = decoding.MAX_PIXELS,
) -> Iterator[Packed]:
    """Pack images and their maps into shards for 'sgmim pretrain --data.shards OUT'.

    Args:
        images: a folder, at any depth, or a list (.txt, .csv).
        out: the folder to make, or to go on with.
        maps: the folder of each map, which is called as its image: --maps.depth FOLDER.
        scale: of a map whose folder has no knowledge.json: stored number / scale is the value.
        hole: of such a map, the stored number that says that nothing is known.
        root: where the paths of a list start, and may not leave; the list's folder if not given.
        short_side: pixels that larger images are made smaller to; 0 keeps every size.
        quality: of JPEG, 1 to 100; what is small enough and RGB and upright is kept as it is.
        encoding: of a map: png16 (default, lossless), png8, or jpeg8: --encoding.depth jpeg8.
        samples: in a shard.
        workers: processes; 0 is none beside this one; as many as there are cores if not given.
        broken_share: of the images, that may be left out because they are broken.
        max_pixels: an image that claims to be larger is broken.

    Raises:
        ConfigurationError: options that cannot be met, or OUT holds what was packed otherwise.
        DataError: too many images are broken, or maps are missing.
        FileError: OUT cannot be written to.
    """
    if short_side < 0 or not 1 <= quality <= 100 or samples < 1 or (workers or 0) < 0:
        raise ConfigurationError(
            "short_side and workers are 0 or more, samples 1 or more, quality is from 1 to 100"
        )
    source = Images(images, maps, scale=scale, hole=hole, root=root, max_pixels=max_pixels)
    for name in encoding or {}:
        if name not in source.maps:
            raise unknown("map", name, source.maps)
    for name in source.maps:
        if not name.isidentifier() or name == "image":
            raise ConfigurationError(f"a folder of shards cannot be called {name!r}, as a map is")
    stores = {
        name: make_store(source, name, (encoding or {}).get(name, "png16")) for name in source.maps
    }
    packer = Packer(Writer(source, stores, short_side, quality), Path(out), samples)
    if _claim(packer):
        yield from _packed(packer, cores() if workers is None else workers, broken_share)


@dataclass(frozen=True)
class Packer:
    """Packs one shard after another, by their numbers."""

    writer: Writer
    out: Path
    samples: int

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("image", *self.writer.maps)

    @property
    def shards(self) -> int:
        return -(-len(self.writer.source) // self.samples)

    def piece(self, shard: int) -> Path:
        return self.out / PIECES / f"{shard:05d}"

    def __call__(self, shard: int) -> dict[str, str]:
        """Write a shard unless it is there, and return what of it is broken."""
        listed = self.piece(shard).with_suffix(".json")
        if not self.piece(shard).exists():
            entries: list[Entry] = []
            broken: dict[str, str] = {}
            paths = [self.out / file_name(name, shard) for name in self.modalities]
            _write_together(paths, lambda files: self._fill(shard, files, entries, broken))
            files = [File(path.name, path.stat().st_size, checksum(path)) for path in paths]
            write_text(listed, json.dumps(broken))
            write_bytes(self.piece(shard), piece(self.modalities, files, entries))
        return json.loads(listed.read_text())

    def _fill(
        self, shard: int, files: Sequence[BinaryIO], entries: list[Entry], broken: dict[str, str]
    ) -> None:
        names, first = self.writer.source.names, shard * self.samples
        with ExitStack() as stack:
            tars = [stack.enter_context(tarfile.open(fileobj=f, mode="w", **TAR)) for f in files]
            for index in range(first, min(first + self.samples, len(names))):
                try:
                    contents = self.writer(index)
                except DataError as error:
                    broken[names[index]] = str(error)
                    continue
                parts = zip(tars, self.writer.suffixes, contents, strict=True)
                members = [
                    _add(tar, f"{key(names[index])}.{suffix}", c) for tar, suffix, c in parts
                ]
                entries.append(Entry(names[index], members))


def _claim(packer: Packer) -> bool:
    """Leave the plan in an empty folder, or see to it that the one there is the same. Returns
    whether there is something to do."""
    path, plan = packer.out / MANIFEST, _plan(packer)
    found: dict[str, Any] = {}
    if path.is_file():
        with decoding.named(path):
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        differing = [name for name, value in plan.items() if found.get(name) != value]
        if differing:
            told = "; ".join(f"{n}: {found.get(n)} there, {plan[n]} here" for n in differing)
            raise ConfigurationError(
                f"{packer.out} holds what was packed otherwise ({told}); choose another folder"
            )
    elif packer.out.is_dir() and any(packer.out.iterdir()):
        raise ConfigurationError(f"{packer.out} is not empty; choose another folder")
    else:
        write_text(path, json.dumps(plan | {"sgmim": __version__}, indent=2) + "\n")
    for name, note in plan["notes"].items():
        about = json.dumps(note | {"sgmim": __version__}, indent=2)
        write_text(packer.out / name / stored.NOTE, about + "\n")
    return "index" not in found


def _plan(packer: Packer) -> dict[str, Any]:
    """What has to be the same for a packing to go on."""
    writer, crc = packer.writer, 0
    for name in writer.source.names:
        crc = checksums().extend(crc, encode(name) + b"\0")
    return {
        "images": {"count": len(writer.source), "crc": crc},
        "modalities": {"image": "jpeg"} | {n: store.encoding for n, store in writer.maps.items()},
        "notes": {name: _plain(store.note) for name, store in writer.maps.items()},
        "short_side": writer.short_side,
        "quality": writer.quality,
        "samples": packer.samples,
    }


def _plain(note: stored.Note) -> dict[str, Any]:
    """A note as JSON gives it back: without tuples."""
    return dict(json.loads(json.dumps(asdict(note))))


def _packed(packer: Packer, workers: int, broken_share: float) -> Iterator[Packed]:
    total = len(packer.writer.source)
    broken: dict[str, str] = {}
    for number, found in enumerate(shared(packer, range(packer.shards), workers), start=1):
        broken |= found
        if len(broken) > broken_share * total or len(broken) == total:
            told = "\n".join(f"  {reason}" for reason in list(broken.values())[:20])
            raise DataError(
                f"{len(broken)} of {total} images were found broken so far, more than "
                f"broken_share={broken_share} allows:\n{told}\nrepair or remove them, or raise "
                f"broken_share; the same command goes on"
            )
        yield Packed(number, packer.shards, found)
    _finish(packer, broken)


def _finish(packer: Packer, broken: dict[str, str]) -> None:
    pieces = [packer.piece(shard) for shard in range(packer.shards)]
    path = packer.out / INDEX
    write_whole(path, lambda file: file.writelines(join(packer.modalities, pieces)))
    write_bytes(packer.out / BROKEN, as_list(broken))
    said: dict[str, Any] = json.loads((packer.out / MANIFEST).read_text())
    said["index"] = {"size": path.stat().st_size, "crc": checksum(path)}
    write_text(packer.out / MANIFEST, json.dumps(said, indent=2) + "\n")
    shutil.rmtree(packer.out / PIECES)
    for name in packer.modalities:
        for left in (packer.out / name).glob(".*.partial"):  # by a process that was killed
            left.unlink(missing_ok=True)


def as_list(broken: dict[str, str]) -> bytes:
    """Broken files for people and scripts: path, tab, reason, a line each."""
    lines = (f"{name}\t{' '.join(reason.split())}\n" for name, reason in broken.items())
    return encode("".join(lines))


def _write_together(
    paths: Sequence[Path], write: Callable[[Sequence[BinaryIO]], None], *files: BinaryIO
) -> None:
    """Write some files at once, each of which is whole or not there."""
    if paths:
        write_whole(paths[0], lambda file: _write_together(paths[1:], write, *files, file))
    else:
        write(files)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> Member:
    entry = tarfile.TarInfo(name)  # of no time and no owner
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return Member(tar.offset - padded, len(content), checksums().value(content))
