"""A run that is done: its model, ready to predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from sgmim import distributed
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.objective import Objective
from sgmim.options import find
from sgmim.runs import OBJECTIVE

ROOMS = {"pretrain": ("methods", "method"), "finetune": ("tasks", "task")}


@dataclass(frozen=True)
class Finished:
    name: str  # of the method or task
    objective: Objective  # in evaluation mode
    normalization: str


def open_run(folder: Path, command: str, device: str = "auto") -> Finished:
    """The model of a finished run of a command, built from its configuration.

    Raises:
        FileError: there is no run, or it is not done.
        ConfigurationError: it is a run of another command.
        DataError: its weights do not fit its configuration.
    """
    from sgmim.assembly import read  # noqa: PLC0415

    path = folder / "config.yaml"
    if not path.is_file() or not (folder / OBJECTIVE).is_file():
        raise FileError(f"{folder} holds no finished run: config.yaml and {OBJECTIVE} are expected")
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    if command not in written:
        raise ConfigurationError(f"{folder} is not a run of 'sgmim {command}'")
    room, part = ROOMS[command]
    _, name, config = read(command, room, part, [f"--recipe={path}"])
    encoder = make_encoder(**(config.encoder.as_dict() | {"pretrained": False}))
    objective = find(room, name)(encoder, **config[part].as_dict())
    try:
        objective.load_state_dict(load_file(folder / OBJECTIVE))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{folder / OBJECTIVE} does not fit {path}: {error}") from error
    objective.to(distributed.start(device)).eval()
    return Finished(name, objective, config.batches.normalization)
