"""Trackers of experiments, each an extra: what the log says is told to them as well.

A run that goes on is the same run to its tracker, and what it was told of already is not told
twice. Where they keep things is their own business (WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_DIR),
except that TensorBoard's files lie in the folder of the run.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image

from sgmim.errors import ConfigurationError, unknown
from sgmim.files import write_text
from sgmim.log import Row
from sgmim.plain_values import flat

IDENTITIES = "trackers.json"  # in the folder of a run: what each tracker calls it
PROJECT = "sgmim"


@dataclass(frozen=True)
class Tracker:
    """What a run tells: numbers and pictures of a step, and why it ends ("" if it is done)."""

    identity: str  # what it calls the run
    log: Callable[[int, Row], None]
    picture: Callable[[int, Path], None]
    close: Callable[[str], None]


def check(names: Iterable[str]) -> None:
    """Raise ConfigurationError where a tracker is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # W&B's own folder "wandb" is no package
            raise ConfigurationError(
                f"--track {name} needs its package: pip install 'sgmim[{name}]'"
            )


def open_tracker(
    name: str, folder: Path, config: Mapping[str, Any], start: int = 0, told: int = 0
) -> Tracker:
    """A tracker of the run in a folder, the same as before if the run goes on.

    Args:
        name: one of TRACKERS.
        folder: of the run.
        config: its options.
        start: steps done.
        told: up to which step it was told already, if it knows the run.
    """
    path = folder / IDENTITIES
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = known.get(name)
    opened = TRACKERS[name](folder, config, before, start)
    write_text(path, json.dumps(known | {name: opened.identity}) + "\n")
    return _from(told, opened) if before and name in FORGETFUL else opened


def tensorboard(
    folder: Path, config: Mapping[str, Any], identity: str | None, start: int
) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    purge = start + 1 if identity else None  # of what it was told before, what comes again
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
    if identity is None:
        writer.add_text("configuration", f"```json\n{json.dumps(config, indent=2)}\n```")

    def log(step: int, row: Row) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, step)

    def picture(step: int, path: Path) -> None:
        with Image.open(path) as image:
            writer.add_image("pictures", np.asarray(image), step, dataformats="HWC")

    return Tracker("tensorboard", log, picture, lambda reason: writer.close())


def wandb(folder: Path, config: Mapping[str, Any], identity: str | None, start: int) -> Tracker:
    import wandb

    identity = identity or uuid4().hex[:12]
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=folder.resolve().name,
        id=identity,
        resume="allow",  # it leaves out steps that it knows
        dir=folder,
        config=dict(config),
    )

    def picture(step: int, path: Path) -> None:
        run.log({"pictures": wandb.Image(str(path))}, step=step)

    return Tracker(
        identity,
        lambda step, row: run.log(dict(row), step=step),
        picture,
        lambda reason: run.finish(exit_code=int(bool(reason))),
    )


def mlflow(folder: Path, config: Mapping[str, Any], identity: str | None, start: int) -> Tracker:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    if identity is None:
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name)
        identity = client.create_run(experiment, run_name=folder.resolve().name).info.run_id
        options = [Param(option, str(value)[:500]) for option, value in flat(config).items()]
        for first in range(0, len(options), 100):  # it takes no more at once
            client.log_batch(identity, params=options[first : first + 100])
    else:
        client.update_run(identity, status="RUNNING")

    def log(step: int, row: Row) -> None:
        now = int(1000 * time())
        client.log_batch(identity, [Metric(name, value, now, step) for name, value in row.items()])

    return Tracker(
        identity,
        log,
        lambda step, path: client.log_artifact(identity, str(path), "pictures"),
        lambda reason: client.set_terminated(identity, "FAILED" if reason else "FINISHED"),
    )


def trackio(folder: Path, config: Mapping[str, Any], identity: str | None, start: int) -> Tracker:
    import trackio

    identity = identity or f"{folder.resolve().name}-{uuid4().hex[:6]}"
    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    run = trackio.init(project, identity, config=dict(config), resume="allow", embed=False)

    def picture(step: int, path: Path) -> None:
        run.log({"pictures": trackio.Image(str(path))}, step=step)

    return Tracker(
        identity,
        lambda step, row: run.log(dict(row), step=step),
        picture,
        lambda reason: run.finish(),
    )


TRACKERS = {call.__name__: call for call in (tensorboard, wandb, mlflow, trackio)}
FORGETFUL = ("mlflow", "trackio")  # these would keep a step twice


def _from(told: int, tracker: Tracker) -> Tracker:
    """A tracker that is told nothing of the steps up to `told`."""

    def log(step: int, row: Row) -> None:
        if step > told:
            tracker.log(step, row)

    def picture(step: int, path: Path) -> None:
        if step > told:
            tracker.picture(step, path)

    return Tracker(tracker.identity, log, picture, tracker.close)
