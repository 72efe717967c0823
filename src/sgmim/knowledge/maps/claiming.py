"""A folder of maps belongs to one way of making them, which its knowledge.json says.

knowledge.json    what the numbers mean (stored.Note), and how they were computed (Manner)
broken.txt        images that have no map: path, tab, reason
constant.txt      images whose map has only one value: the source sees nothing in them
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sgmim import __version__
from sgmim.data.decoding import named
from sgmim.data.listing import files_below
from sgmim.data.names import encode
from sgmim.data.stored import NOTE, SUFFIXES, Note, read_note
from sgmim.errors import ConfigurationError
from sgmim.files import failure, sweep, write_bytes, write_text

BROKEN, CONSTANT = "broken.txt", "constant.txt"
# Whose versions are noted.
LIBRARIES = ("torch", "torchvision", "transformers", "cv2", "isal")


@dataclass(frozen=True)
class Manner:
    """What has a say in the last bits of a map: a job that goes on has to do as before."""

    batch: int  # images at once
    precision: str  # "fp32", "bf16" or "fp16"
    device: str = "cpu"


def claim(folder: Path, note: Note, images: str, manner: Callable[[], Manner]) -> None:
    """Leave the note in an empty folder, or see to it that the one there says the same.

    What a process that was killed has left half written is removed. `manner` is asked only for a
    new folder.

    Raises:
        ConfigurationError: the folder holds maps that were not made so.
        DataError: its note is broken.
        FileError: it cannot be looked into or written to.
    """
    found = read_note(folder)
    if found is None:
        if folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty and has no {NOTE}, so its maps are of unknown origin; "
                f"choose another folder"
            )
    elif found != note:
        there, here = asdict(found), asdict(note)
        told = "; ".join(
            f"{key} {there[key]!r} there, {here[key]!r} here"
            for key in here
            if there[key] != here[key]
        )
        raise ConfigurationError(
            f"{folder} holds maps made otherwise ({told}); choose another folder"
        )
    _check_alone(folder)
    sweep(folder, below=True)
    if found is None:
        about = asdict(note) | {"made": asdict(manner()), "images": images}
        versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in LIBRARIES}
        libraries = {name: version for name, version in versions.items() if version}
        about |= {"sgmim": __version__, "libraries": libraries}
        write_text(folder / NOTE, json.dumps(about, indent=2) + "\n")


def manner_of(folder: Path) -> Manner | None:
    """How the maps of a folder are computed, None where its note does not say."""
    path = folder / NOTE
    with named(path):
        made = json.loads(path.read_text(encoding="utf-8")).get("made")
        return Manner(**made) if made else None


def _check_alone(folder: Path) -> None:
    """Raise ConfigurationError where maps of another folder, or of another format, are in it."""
    others = [above / NOTE for above in folder.absolute().parents]
    found = [str(path) for path in others if path.is_file()]
    if folder.is_dir():
        inside = files_below(folder, {".json", *SUFFIXES} - {".png"})
        found += [f"{folder}/{path}" for path in inside if path != NOTE and _is_foreign(path)]
    if found:
        raise ConfigurationError(
            f"{folder} would mix its maps with others, of which {found[0]} is one"
            f"{f' of {len(found)}' * (len(found) > 1)}; choose another folder"
        )


def _is_foreign(path: str) -> bool:
    return not path.endswith(".json") or os.path.basename(path) == NOTE


def note_down(path: Path, name: str, reason: str) -> None:
    """Add a line to a list, which several processes may do at once."""
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(line(name, reason))
    except OSError as error:
        raise failure(path, error) from error


def finish(path: Path, lines: set[bytes]) -> None:
    """Put a list in order; one of nothing is removed."""
    if lines:
        write_bytes(path, b"".join(sorted(lines)))
    else:
        path.unlink(missing_ok=True)


def line(name: str, reason: str) -> bytes:
    return encode(f"{name}\t{' '.join(reason.split())}\n")


def lines_of(path: Path) -> set[bytes]:
    """What a list says, but for a last line that was torn."""
    if not path.is_file():
        return set()
    return {line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
