"""A run that is done: its model, ready to predict."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from sgmim import distributed, options
from sgmim.encoders import make_encoder
from sgmim.encoders.files import ENCODER, read_header
from sgmim.errors import DataError, FileError
from sgmim.inference import Inference
from sgmim.objective import Objective
from sgmim.request import read
from sgmim.runs import CONFIG, OBJECTIVE

CLASSES = "classes"  # in the header of an encoder's file: their names
ROOMS = {"pretrain": ("methods", "method"), "finetune": ("tasks", "task")}


@dataclass(frozen=True)
class Finished:
    name: str  # of the method or task
    objective: Objective  # in evaluation mode
    normalization: str
    inference: Inference  # how it is shown images; of a task


def open_run(
    folder: Path, command: str, device: str = "auto", changes: Sequence[str] = ()
) -> Finished:
    """The model of a finished run of a command, built from its configuration, in which options may
    have `changes`, as on a command line.

    Raises:
        FileError: there is no run, or it is not done.
        ConfigurationError: it is a run of another command.
        DataError: its weights do not fit its configuration.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / OBJECTIVE).is_file():
        raise FileError(f"{folder} holds no finished run: {CONFIG} and {OBJECTIVE} are expected")
    finished = build(path, command, changes)
    load_weights(finished.objective, folder / OBJECTIVE, path)
    finished.objective.class_names = class_names(folder)
    finished.objective.to(distributed.start(device)).eval()
    return finished


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes that a run has learnt, where its data had any."""
    told = read_header(folder if (folder / ENCODER).is_file() else folder / OBJECTIVE)
    return tuple(json.loads(told.get(CLASSES, "[]")))


def build(path: Path, command: str, changes: Sequence[str] = ()) -> Finished:
    """What a configuration of a command describes, with options changed, with new weights.

    Raises:
        ConfigurationError: it is a configuration of another command.
    """
    room, part = ROOMS[command]
    # the weights are in the run: what it was started from need not be there any more
    name, config = read(command, room, part, [f"--recipe={path}", "--init=null", *changes])
    encoder = make_encoder(**(config.encoder.as_dict() | {"pretrained": False}))
    objective = options.build(room, name, encoder, config[part], config.get("head"))
    inference = Inference(**config.get("inference", {}))
    return Finished(name, objective, config.batches.normalization, inference)


def load_weights(objective: Objective, weights: Path, path: Path) -> None:
    """Load all weights of a model; raises DataError where they do not fit its configuration."""
    try:
        objective.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{weights} does not fit {path}: {error}") from error
