"""A model as a program of torch.export (.pt2): torch alone runs it, on batches of any number."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sgmim.errors import ConfigurationError
from sgmim.export.card import Usage
from sgmim.export.check import Pair, probe
from sgmim.export.programs import Program, programs
from sgmim.export.subject import Subject

BATCHES = (1, 2, 5)  # that are compared: none of them is the one that it is traced with
TRACED = 3
USE = """import torch

model = torch.export.load("FOLDER/{name}.pt2").module()
said = model(image)  # colors in [0, 1], (b, {channels}, {height}, {width}); b is any
"""


def write(subject: Subject, folder: Path) -> None:
    for name, program in programs(subject).items():
        torch.export.save(traced(subject, program), folder / f"{name}.pt2")


def traced(subject: Subject, program: Program) -> torch.export.ExportedProgram:
    """A program with any number of images.

    Raises:
        ConfigurationError: something in the model cannot be traced.
    """
    image = probe(TRACED, subject.encoder.channels, subject.encoder.image_size)
    with traceable(), torch.no_grad():
        return torch.export.export(
            program, (image,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )


@contextmanager
def traceable() -> Iterator[None]:
    """One line for what torch raises of a model that cannot be traced, which can be anything."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(
            f"this model cannot be traced: {reason}; take --to timm, hf or sgmim instead"
        ) from error


def pairs(subject: Subject, folder: Path) -> Iterator[Pair]:
    for name, program in programs(subject).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its bytes, which nobody writes to, are read-only
            opened = torch.export.load(folder / f"{name}.pt2").module()
        yield from compared(name, subject, program, opened)


def compared(name: str, subject: Subject, ours: Program, theirs: Any) -> Iterator[Pair]:
    """A program and what was made of it, on several batches."""
    what = "features" if name == "encoder" else name
    for batch in BATCHES:
        image = probe(batch, subject.encoder.channels, subject.encoder.image_size)
        with torch.no_grad():
            yield Pair(what, image, ours(image), theirs(image))


def note(subject: Subject) -> str:
    return f"batches of {', '.join(map(str, BATCHES))}; a program is for one size of images"


def usage(subject: Subject) -> Usage:
    return Usage("torch", USE.format(**shape(subject)))


def shape(subject: Subject) -> dict[str, Any]:
    height, width = subject.encoder.image_size
    name = subject.finished.name if subject.finished else "encoder"
    return {"name": name, "channels": subject.encoder.channels, "height": height, "width": width}
