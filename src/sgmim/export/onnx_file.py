"""A model as an ONNX file: onnxruntime and others run it, on batches of any number."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from sgmim.export.card import Usage
from sgmim.export.check import Pair
from sgmim.export.programs import programs
from sgmim.export.subject import Subject
from sgmim.export.torch_program import BATCHES, compared, shape, traceable, traced

OPSET = 18  # the least that torch's exporter makes, so what most runtimes know
INPUT = "image"
USE = """import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/{name}.onnx")
(said,) = session.run(None, {{"image": image}})
# image: numpy float32, colors in [0, 1], (b, {channels}, {height}, {width}); b is any
"""


def write(subject: Subject, folder: Path) -> None:
    import onnx

    for name, program in programs(subject).items():
        path = folder / f"{name}.onnx"
        with traceable(), quiet():
            torch.onnx.export(
                traced(subject, program),
                (),
                str(path),
                dynamo=True,
                input_names=[INPUT],
                output_names=["features" if name == "encoder" else name],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        onnx.checker.check_model(str(path), full_check=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own insides."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def pairs(subject: Subject, folder: Path) -> Iterator[Pair]:
    from onnxruntime import InferenceSession

    for name, program in programs(subject).items():
        session = InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])

        def theirs(image: Tensor, session: InferenceSession = session) -> Tensor:
            (said,) = session.run(None, {INPUT: image.numpy()})
            return torch.from_numpy(said)

        yield from compared(name, subject, program, theirs)


def note(subject: Subject) -> str:
    batches = ", ".join(map(str, BATCHES))
    return f"opset {OPSET}, batches of {batches}; a program is for one size of images"


def usage(subject: Subject) -> Usage:
    return Usage("onnx", USE.format(**shape(subject)))
