"""Save a run, and resume it: run/checkpoints/step_00001200.pt has all that it needs to go on.

These files are for one's own run. What is kept and passed on is the encoder (encoders/files.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from sgmim.checkpoint.sealing import check_seal, seal
from sgmim.distributed import bare
from sgmim.ema import MovingAverage
from sgmim.errors import ConfigurationError, DataError, FileError, listed
from sgmim.files import sweep, write_whole
from sgmim.objective import Objective
from sgmim.plain_values import flat

Content = dict[str, Any]


def save(
    run: Path,
    step: int,
    objective: Objective | DistributedDataParallel,
    optimizer: Optimizer,
    *,
    ema: MovingAverage | None = None,
    configuration: dict[str, Any] | None = None,
    keep: int = 2,
) -> Path:
    """Save what a run needs to go on after `step` steps; see `content` and `write`."""
    told = content(step, objective, optimizer, ema=ema, configuration=configuration)
    return write(run, told, keep=keep)


def content(
    step: int,
    objective: Objective | DistributedDataParallel,
    optimizer: Optimizer,
    *,
    ema: MovingAverage | None = None,
    configuration: dict[str, Any] | None = None,
) -> Content:
    """What a run needs to go on after `step` steps: the tensors themselves, no copies.

    Random numbers need no saving: they come from the step (see draws.seeded, and data.Batches).

    Args:
        step: steps done.
        objective: its weights and statistics are saved.
        optimizer: its moments are saved.
        ema: the moving average, if there is one.
        configuration: what has to be the same for the run to go on, in JSON's types.
    """
    return {
        "step": step,
        "configuration": as_json(configuration),
        "objective": bare(objective).state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema.objective.state_dict() if ema else None,
    }


def write(run: Path, content: Content, *, keep: int = 2) -> Path:
    """Write a checkpoint, and remove old ones once it reads back as it was written.

    One process of a run does this.

    Args:
        run: folder of the run.
        content: of the checkpoint.
        keep: how many checkpoints to keep, this one included.

    Raises:
        FileError: it cannot be written, or cannot be read back; those before it are untouched.
    """
    path = Path(run) / "checkpoints" / f"step_{content['step']:08d}.pt"
    sweep(path.parent)
    write_whole(path, lambda file: _sealed(content, file))
    try:
        check_seal(path)
    except (DataError, OSError) as error:
        path.unlink(missing_ok=True)
        raise FileError(
            f"{path} cannot be read back: {error}; those before it are kept, but is the disk well?"
        ) from error
    until_now = [other for other in _saved(run) if other <= path]
    for old in until_now[:-keep]:
        old.unlink()
    return path


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was after some step."""

    path: Path
    content: Content
    passed_over: dict[str, str]  # newer files that cannot be read, and why

    @property
    def step(self) -> int:
        """Steps done: the number of the next one."""
        return self.content["step"]

    def restore(
        self,
        objective: Objective | DistributedDataParallel,
        optimizer: Optimizer,
        *,
        ema: MovingAverage | None = None,
        configuration: dict[str, Any] | None = None,
    ) -> None:
        """Put everything back as it was; a new moving average begins with the weights.

        Raises:
            ConfigurationError: it was saved with another configuration than this, if one is given.
            DataError: it is of another model or optimizer.
        """
        if configuration is not None:
            self.check(configuration)
        self._put_back(bare(objective), optimizer, ema)

    def _put_back(
        self, objective: Objective, optimizer: Optimizer, ema: MovingAverage | None
    ) -> None:
        try:
            objective.load_state_dict(self.content["objective"])
            optimizer.load_state_dict(self.content["optimizer"])
            if ema is not None:
                ema.objective.load_state_dict(self.content["ema"] or self.content["objective"])
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{self.path} is of another model or optimizer: {error}") from error

    def check(self, configuration: dict[str, Any]) -> None:
        """Raise ConfigurationError where it was saved with another configuration."""
        before, now = flat(self.content["configuration"] or {}), flat(as_json(configuration))
        changes = [
            f"{name} ({before.get(name, 'not set')} then, {now.get(name, 'not set')} now)"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changes:
            raise ConfigurationError(
                f"cannot go on from {self.path}, which has another configuration: "
                f"{listed(changes)}; change it back, or start a run in a new folder"
            )


def latest(run: Path, other: Checkpoint | None = None) -> Checkpoint | None:
    """The newest checkpoint that can be read; None where nothing was saved yet.

    Of a run that has another of another kind only what is newer is read, and that one is returned
    where nothing newer can be read.

    Raises:
        DataError: there are checkpoints and none of them can be read.
    """
    passed_over = other.passed_over if other else {}
    for path in reversed(_saved(run)):
        if other and int(path.stem.rpartition("_")[2]) <= other.step:
            break
        try:
            return Checkpoint(path, _read(path), passed_over)
        except Exception as error:  # a file torn or rotten somewhere fails in any way
            passed_over[path.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    if passed_over and other is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
        raise DataError(f"no checkpoint in {run} can be read ({reasons}); start in a new folder")
    return other


def _saved(run: Path) -> list[Path]:
    return sorted((Path(run) / "checkpoints").glob("step_*.pt"))


def _sealed(content: Content, file: BinaryIO) -> None:
    torch.save(content, file)
    seal(file)


def _read(path: Path) -> Content:
    check_seal(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not content.keys() >= {"step", "objective", "optimizer"}:
        raise DataError("it is no checkpoint of a run")
    return content


def as_json(configuration: Any) -> Any:
    """What reading it back from JSON gives."""
    return json.loads(json.dumps(configuration, default=str))
