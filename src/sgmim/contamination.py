"""Benchmarks that a model knows through its teachers: told from the maps to the scores.

A map's note says which benchmarks its teacher was trained on. The file of an encoder that learnt
from such maps says so too, and the file of what was fine-tuned from that; a score on such a
benchmark is given with a warning.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sgmim.data.decoding import named
from sgmim.data.images import Source
from sgmim.encoders.files import read_header
from sgmim.errors import FileError

Seen = dict[str, list[str]]  # benchmark -> teachers that were trained on it
KEY = "seen"  # in the header of an encoder's file


def seen(source: Source, needs: Iterable[str]) -> Seen:
    """What the teachers of the needed maps of a source were trained on."""
    notes = getattr(source, "notes", {})
    found = (notes[name] for name in needs if name in notes)
    return joined(*({each: [note.source] for each in note.trained_on} for note in found))


def handed_on(path: Path | str | None) -> Seen:
    """What an encoder's file, or that of a run, says; nothing of a checkpoint of others."""
    try:
        text = read_header(path).get(KEY, "{}") if path else "{}"
    except FileError:  # of a run whose encoder was taken away
        return {}
    with named(str(path)):
        return joined(json.loads(text))


def joined(*found: Mapping[str, Iterable[str]]) -> Seen:
    """All that was found, in alphabetical order."""
    names = sorted({name for each in found for name in each})
    return {name: sorted({t for each in found for t in each.get(name, ())}) for name in names}


def benchmark(source: Source, said: str | None) -> str | None:
    """What a source is of: what a user said, or what its reader says."""
    return said or getattr(source, "benchmark", None)


def warning(found: Seen, benchmark: str | None) -> str | None:
    """What is to be said of a score on a benchmark, if anything."""
    teachers = found.get((benchmark or "").lower())
    if not teachers:
        return None
    return (
        f"warning: this model learnt from {', '.join(teachers)}, trained on {benchmark}: "
        "its score there is not of a model that has never seen it"
    )
