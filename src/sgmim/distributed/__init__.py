"""One run over several processes, as torchrun or srun start them; nothing of it in one process."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from sgmim.distributed import joining
from sgmim.distributed.pulse import GRACE, LostError, Pulse
from sgmim.errors import ConfigurationError
from sgmim.objective import Objective

T = TypeVar("T")
_pulse: Pulse | None = None  # of this process, while it has joined others


def start(device: str = "auto", timeout: float = 600.0) -> torch.device:
    """Join the other processes of the run, if there are any, and return this one's device.

    Processes find each other by torchrun's environment variables, or srun's.

    Args:
        device: "auto" is this process's own GPU where there is one, else the CPU.
        timeout: seconds after which a process that others wait for counts as lost.

    Raises:
        ConfigurationError: there is no such device, or fewer GPUs than processes.
    """
    os.environ.update(joining.from_slurm(os.environ))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = _usable(f"cuda:{joining.own_gpu()}" if device == "cuda" else device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _joined():
        joining.join(chosen, timedelta(seconds=timeout))
        global _pulse
        _pulse = Pulse()
    return chosen


@contextmanager
def together() -> Iterator[None]:
    """In here a command may join other processes; after it, it has left them.

    Raises:
        LostError: one of them is gone, or could not go on.
    """
    try:
        yield
    except Exception as error:
        lost = _lost(error)
        stop(lost or f"{type(error).__name__}: {_first_line(error)}")
        if lost:
            signal.alarm(round(GRACE))  # whatever still waits for that process
            raise LostError(lost) from error
        raise
    finally:
        stop()


def stop(failed: str | None = None) -> None:
    """Leave the other processes: the last thing a run does; they are told if it has failed."""
    global _pulse
    pulse, _pulse = _pulse, None
    if pulse is not None:
        pulse.leave(failed)
    if _joined():
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if _joined() else 0


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _joined() else 1


def local_world() -> int:
    """How many processes there are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world()))


def is_main() -> bool:
    """Whether this process is the one that logs and saves."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if _joined():
        distributed.barrier()


def mean(numbers: Mapping[str, float | Tensor]) -> dict[str, float]:
    """The averages over all processes of what each has under the same names. Waits for the GPU."""
    values = torch.tensor([float(number) for number in numbers.values()], dtype=torch.float64)
    if _joined():
        values = values.to("cuda" if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(values)
        values /= world()
    return dict(zip(numbers, values.tolist(), strict=True))


def gathered(value: T, group: ProcessGroup | None = None) -> list[T]:
    """What each process has, by rank."""
    if not _joined():
        return [value]
    values: list[T] = [value] * world()
    distributed.all_gather_object(values, value, group)
    return values


def side_group() -> ProcessGroup | None:
    """The processes once more, over the CPU and in an order of their own: for what goes on beside
    the training. None in one process."""
    return distributed.new_group(backend="gloo") if _joined() else None


class Agreement:
    """Whether any process of the run was asked for something, such as to stop.

        asked = Agreement()
        for step in steps:
            if asked(flag):  # on every process in the same step, one step after the first flag
                ...

    Neither the processes nor the GPU are waited for: what is asked in one step is sent beside the
    work of the next. One process alone agrees with itself at once.
    """

    def __init__(self):
        self.group = side_group()
        self.answer: Callable[[], bool] | None = None  # to what was asked one step ago

    def __call__(self, flag: bool) -> bool:
        """Whether any process said so one step ago; every process calls this once a step."""
        if self.group is None:
            return flag
        before, self.answer = self.answer, self._ask(flag)
        return before is not None and before()

    def _ask(self, flag: bool) -> Callable[[], bool]:
        said = torch.tensor(int(flag))
        sent = distributed.all_reduce(said, distributed.ReduceOp.MAX, self.group, async_op=True)

        def answer() -> bool:
            sent.wait()
            return bool(said)

        return answer


def wrap(objective: Objective, static: bool = False) -> Objective | DistributedDataParallel:
    """The objective as one of several that share their gradients; itself in one process.

    Every parameter must be used in every step. Running statistics stay each process's own, and
    those of the main process are saved.

    Args:
        objective: on its device; if it is shared (parallel.py) it needs nothing around it.
        static: every step does the same, and has one micro-batch: with more, torch's static graph
            cannot accumulate gradients (pytorch/pytorch#143580).
    """
    if not _joined() or isinstance(objective, FSDPModule):
        return objective
    on_gpu = next(objective.parameters()).is_cuda
    return DistributedDataParallel(
        objective,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        static_graph=static,
    )


def bare(objective: Objective | DistributedDataParallel) -> Objective:
    """The objective itself, without what `wrap` may have put around it."""
    return objective.module if isinstance(objective, DistributedDataParallel) else objective


def sharing(
    objective: Objective | DistributedDataParallel, now: bool
) -> AbstractContextManager[None]:
    """Forward and backward passes in here share their gradients, or keep them for a later one."""
    if isinstance(objective, FSDPModule):
        objective.set_requires_gradient_sync(now)
        objective.set_is_last_backward(now)
    elif isinstance(objective, DistributedDataParallel) and not now:
        return objective.no_sync()
    return nullcontext()


def _usable(device: str) -> torch.device:
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"device {device!r} cannot be used ({_first_line(error)}); take auto, cpu or cuda"
        ) from error
    return chosen


def _lost(error: Exception) -> str | None:
    """Which process is gone, if that is what an error comes from."""
    words = ("gloo", "nccl", "connection", "timed out")
    if _pulse is None or not any(word in str(error).lower() for word in words):
        return None
    return _pulse.verdict() or (
        f"all processes live, but one did not come for too long ({_first_line(error)}); "
        "if it is only slow, raise parallel.timeout"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
