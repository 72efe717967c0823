"""Features kept on disk, and used again only where nothing that they hang on has changed.

FOLDER/<digest>.safetensors   the features, one matrix a reading
FOLDER/<digest>.json          of which weights, images and settings they are

The name is a digest of all that: of other weights or images there is another file, or none.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors.torch import load_file
from torch import Tensor

from sgmim.data.images import Source
from sgmim.files import write_bytes, write_text

PLACES = ("images", "pairs", "shards", "root", "dataset")  # options of data that name files


def kept(
    folder: Path | None, about: Mapping[str, Any], make: Callable[[], list[Tensor]]
) -> list[Tensor]:
    """Features from the folder if they are there, else made and kept; without a folder, made.

    Args:
        folder: made if it is not there.
        about: everything that they hang on, as JSON has it.
        make: computes them.

    Raises:
        FileError: they cannot be written.
        DataError: what is there cannot be read.
    """
    if folder is None:
        return make()
    told = json.dumps(about, indent=2, sort_keys=True, default=str) + "\n"
    name = hashlib.sha256(told.encode()).hexdigest()[:32]
    file, note = folder / f"{name}.safetensors", folder / f"{name}.json"
    if file.is_file() and note.is_file() and note.read_text(encoding="utf-8") == told:
        found = load_file(file)
        return [found[str(number)] for number in range(len(found))]
    made = make()
    tensors = {str(number): each.cpu().contiguous() for number, each in enumerate(made)}
    write_bytes(file, safetensors.torch.save(tensors))
    write_text(note, told)
    return made


def stamp(source: Source, options: Mapping[str, Any]) -> str | None:
    """A digest of the files of a source: path, size and the times of the last changes of each.

    Args:
        source: of images.
        options: of sources.make_source, that it was made with.

    Returns:
        None where nobody can say whether something has changed, as with shards behind a URL.
    """
    places = [str(options[name]) for name in PLACES if options.get(name)]
    if any("://" in place for place in places):
        return None
    digest = hashlib.sha256()
    for file in sorted({*_named(source), *_below(map(Path, places))}):
        now = file.stat()
        digest.update(f"{file} {now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def _named(source: Any) -> Iterator[Path]:
    """The images of a source that knows a file of each."""
    while hasattr(source, "source"):
        source = source.source
    if callable(path := getattr(source, "path", None)):
        found = (Path(path(number)) for number in range(len(source)))
        yield from (file for file in found if file.is_file())


def _below(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from filter(Path.is_file, place.rglob("*") if place.is_dir() else [place])
