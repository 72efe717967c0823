"""Save a run whose model is shared, each process its part; resume it on any number of processes.

run/checkpoints/step_00001200/
  __0_0.distcp, __1_0.distcp ...   the parts, by torch.distributed.checkpoint
  .metadata                        which part is where
  manifest_0.json, ...             last, by each process: check sums of what it wrote

A checkpoint counts if all manifests are there and right. These folders are for one's own run, with
the torch they were written by; what is kept and passed on is safetensors (encoders/files.py).
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from sgmim import checkpoint, distributed
from sgmim.checkpoint import Checkpoint, manifests
from sgmim.checkpoint.unpickling import Reader, Tensors
from sgmim.ema import MovingAverage
from sgmim.errors import DataError, FileError
from sgmim.files import failure
from sgmim.objective import Objective

State = dict[str, Tensor]


class Writer:
    """Saves beside the training: the run waits for a copy in memory alone.

    Every process of the run calls the same in the same order, one checkpoint after another.

    Args:
        run: folder of the run.
        configuration: what has to be the same for the run to go on, in JSON's types.
        keep: how many checkpoints to keep.
    """

    def __init__(self, run: Path, configuration: dict[str, Any] | None = None, keep: int = 2):
        self.folder, self.configuration, self.keep = run / "checkpoints", configuration, keep
        self.group = distributed.side_group()
        # the memory of the copies is kept where that makes them faster
        self.stager = BlockingAsyncStager(cache_staged_state_dict=torch.cuda.is_initialized())

    def copy(
        self, step: int, model: Objective, optimizer: Optimizer, ema: MovingAverage | None = None
    ) -> Callable[..., None]:
        """Copy what the run needs to go on after `step` steps; what is returned writes that.

        It is given what the main process is to write before, and raises FileError on all processes
        if one of them cannot write; the checkpoints before it are then untouched. Only after it has
        returned may the next copy be made.
        """
        content = {"step": step, "ema": ema is not None, "configuration": self.configuration}
        copied = self.stager.stage(state_of(model, optimizer, ema))
        return partial(self._write, copied, content)

    def _write(
        self, state: State, content: dict[str, Any], before: Callable[[], None] = lambda: None
    ) -> None:
        path = self.folder / f"step_{content['step']:08d}"
        self._together(before, on_main=True)
        self._together(lambda: manifests.emptied(path), on_main=True)
        try:
            dcp.save(
                state,
                storage_writer=dcp.FileSystemWriter(str(path)),
                process_group=self.group,
                no_dist=self.group is None,
            )
        except (CheckpointException, OSError) as error:
            raise failure(path, _first(error)) from error
        self._together(lambda: manifests.sign(path, content))
        self._together(self._forget, on_main=True)

    def _together(self, action: Callable[[], None], on_main: bool = False) -> None:
        """Act on every process, or on the main one; what fails on one fails on all."""
        failed = None
        try:
            if not on_main or distributed.is_main():
                action()
        except OSError as error:
            failed = str(error)
        failures = [found for found in distributed.gathered(failed, self.group) if found]
        if failures:
            raise FileError(failures[0])

    def _forget(self) -> None:
        for old in manifests.saved(self.folder)[: -self.keep]:
            for manifest in old.glob("manifest_*"):  # without them it does not count any more
                manifest.unlink()
            shutil.rmtree(old)


@dataclass(frozen=True)
class Sharded(Checkpoint):
    """A run as it was after some step, in a folder."""

    def _put_back(
        self, objective: Objective, optimizer: Optimizer, ema: MovingAverage | None
    ) -> None:
        """Each process its part; all of them do this together."""
        averaged = ema if self.content["ema"] else None
        state = state_of(objective, optimizer, averaged)
        alone = distributed.world() == 1
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled")  # if alone
                dcp.load(state, storage_reader=Reader(self.path), planner=Tensors(), no_dist=alone)
        # what does not fit or was tampered with fails in any way
        except (CheckpointException, Exception) as error:
            told = f"{self.path} is not of this model and optimizer: {_reason(error)}"
            raise DataError(told) from error
        if ema is not None and averaged is None:  # a new one begins with the weights
            fill(_weights(ema.objective), _weights(objective))


@dataclass(frozen=True)
class Whole(Checkpoint):
    """A run as one process saved it, of which each takes its part."""

    def _put_back(
        self, objective: Objective, optimizer: Optimizer, ema: MovingAverage | None
    ) -> None:
        moments, averages = self.content["optimizer"], self.content["ema"]
        content = _named("objective", self.content["objective"])
        content |= _named("ema", averages or self.content["objective"])
        for group in moments["param_groups"]:
            for number, name in zip(group["params"], group["param_names"], strict=True):
                content |= _named(f"optimizer.{name}", moments["state"][number])
        try:
            fill(state_of(objective, optimizer, ema), content)
        except (KeyError, RuntimeError) as error:
            told = f"{self.path} is not of this model and optimizer: {_reason(error)}"
            raise DataError(told) from error


def latest(run: Path, shared: bool) -> Checkpoint | None:
    """The newest checkpoint of either kind that is as it was written; None if there is none.

    The processes share the work of checking, and come to the same result.

    Args:
        run: folder of the run.
        shared: whether the model that will be restored is.

    Raises:
        DataError: there are checkpoints and none of them can be read.
    """
    passed_over: dict[str, str] = {}
    found: Checkpoint | None = None
    for path in reversed(manifests.saved(Path(run) / "checkpoints")):
        wrong = next(filter(None, distributed.gathered(manifests.wrong(path))), None)
        if wrong is None:
            content = json.loads((path / "manifest_0.json").read_text())
            found = Sharded(path, content, passed_over)
            break
        passed_over[path.name] = wrong
    newest = checkpoint.latest(run, found)
    if newest is not None and newest is not found:
        kind = Whole if shared else Checkpoint
        return kind(newest.path, newest.content, passed_over | newest.passed_over)
    if found is None and any(manifests.UNFINISHED not in wrong for wrong in passed_over.values()):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
        raise DataError(f"no checkpoint in {run} can be read ({reasons}); start in a new folder")
    return found


def state_of(model: Objective, optimizer: Optimizer, ema: MovingAverage | None) -> State:
    """All that has to be saved, by name; where it is shared this process's part, and no copies.

    What is no tensor (rates, decays) comes from the configuration.
    """
    moments: Any = get_optimizer_state_dict(model, optimizer)["state"]
    state = _named("objective", _weights(model))
    for name, of_parameter in moments.items():
        state |= _named(f"optimizer.{name}", of_parameter)
    if ema is not None:
        state |= _named("ema", _weights(ema.objective))
    return state


@torch.no_grad()
def fill(state: dict[str, Any], content: dict[str, Tensor]) -> None:
    """Copy tensors, whole or shared, into others of the same names, whole or shared."""
    for name, tensor in state.items():
        new = content[name]
        if isinstance(tensor, DTensor):
            if not isinstance(new, DTensor):
                new = new.to(tensor.device)
                new = distribute_tensor(
                    new, tensor.device_mesh, tensor.placements, src_data_rank=None
                )
            tensor, new = tensor.to_local(), new.to_local()
        tensor.copy_(new)


def _weights(model: Objective) -> State:
    return cast(State, get_model_state_dict(model))


def _named(part: str, tensors: Mapping[str, Any]) -> State:
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _first(error: BaseException) -> Exception:
    """What went wrong first, of what several processes say."""
    failures = getattr(error, "failures", {})  # rank -> error, and where it came from
    return failures[min(failures)][0] if failures else cast(Exception, error)


def _reason(error: BaseException) -> str:
    error = _first(error)
    return str(error).strip().partition("\n")[0] or type(error).__name__
