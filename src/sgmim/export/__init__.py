"""Weights for others: folders and files that timm, transformers, onnxruntime or torch open.

    run ──► Subject ──write──► a folder ──opened again by its library──► compared with the encoder
                                                                         └─► check.json, README.md

Each format is a file of its own with three functions: `write` makes the folder, `pairs` opens it
again with nothing but the other library and gives what both say, `note` tells at which sizes.
A folder that says otherwise than the encoder is never left where it could be found.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from sgmim.errors import ConfigurationError, FileError, unknown
from sgmim.export import card
from sgmim.export.check import CHECK, Outcome, Pair, checked
from sgmim.export.subject import Subject
from sgmim.files import whole_folder, write_text

FORMATS = {
    "timm": "timm_folder",
    "hf": "hugging_face_folder",
    "onnx": "onnx_file",
    "torch": "torch_program",
    "sgmim": "own_folder",
}
PACKAGES = {"hf": ("transformers",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
EXTRAS = {"hf": "transformers", "onnx": "onnx"}


class Format(Protocol):
    """What the file of a format offers."""

    @staticmethod
    def write(subject: Subject, folder: Path) -> None: ...
    @staticmethod
    def pairs(subject: Subject, folder: Path) -> Iterator[Pair]: ...
    @staticmethod
    def note(subject: Subject) -> str: ...
    @staticmethod
    def usage(subject: Subject) -> card.Usage: ...


def formats(words: str) -> tuple[str, ...]:
    """The formats of words such as "timm,onnx".

    Raises:
        ConfigurationError: there is no such format, or what makes it is not installed.
    """
    asked = tuple(dict.fromkeys(words.replace(",", " ").split()))
    for word in asked:
        if word not in FORMATS:
            raise unknown("format", word, FORMATS)
        if missing := [name for name in PACKAGES.get(word, ()) if find_spec(name) is None]:
            raise ConfigurationError(
                f"--to {word} needs {' and '.join(missing)}: pip install 'sgmim[{EXTRAS[word]}]'"
            )
    if not asked:
        raise ConfigurationError(f"--to takes formats: {', '.join(FORMATS)}")
    return asked


def export(subject: Subject, kind: str, folder: Path) -> Outcome:
    """Write a subject in one format, open it again, and compare.

    Args:
        subject: what is exported.
        kind: one of FORMATS.
        folder: made, or replaced once all is well.

    Raises:
        ConfigurationError: the format cannot hold this model.
        DataError: what was opened again says otherwise than the model; then nothing is written.
        FileError: the folder cannot be written, or holds something else than an export.
    """
    if folder.exists() and not (folder / CHECK).is_file():
        raise FileError(f"{folder} is there, and is no export: give another --out")
    made: Any = import_module(f"sgmim.export.{FORMATS[kind]}")
    form: Format = made
    with whole_folder(folder) as partial:
        form.write(subject, partial)
        outcome = checked(kind, form.pairs(subject, partial), form.note(subject))
        write_text(partial / CHECK, outcome.as_json())
        write_text(partial / card.CARD, card.written(subject, form.usage(subject), outcome))
    return outcome
