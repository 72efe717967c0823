"""How the processes of a run find each other: as torchrun has it, or srun."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore

from sgmim.errors import ConfigurationError

POLL = 0.2  # seconds


def join(device: torch.device, timeout: timedelta) -> None:
    """Meet the others where the environment says."""
    options: dict[str, Any] = {"timeout": timeout, "backend": "gloo"}
    if device.type == "cuda":
        options |= {"backend": "nccl", "device_id": device}
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        distributed.init_process_group(**options)
        return
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with Attempt(rank, world, timeout) as own:
        distributed.init_process_group(store=own, rank=rank, world_size=world, **options)


class Attempt:
    """A store of this attempt's own, where torchrun restarts processes and keeps its store.

    In torch 2.12 the new processes read in it the addresses of those that are gone, and no two
    nodes count the attempts alike (pytorch/pytorch#135712). So process 0 draws a name, and tells it
    to whoever asks under a name of his own.
    """

    def __init__(self, rank: int, world: int, timeout: timedelta):
        self.rank, self.world, self.timeout = rank, world, timeout
        self.own, self.met = os.urandom(8).hex(), Event()

    def __enter__(self) -> Store:
        if self.rank == 0:
            Thread(target=self._answer, daemon=True).start()
            return PrefixStore(self.own, self._connected())
        store = self._connected()
        store.set(f"asks {self.rank}", self.own)
        return PrefixStore(store.get(f"answer to {self.own}").decode(), store)

    def __exit__(self, *_: object) -> None:
        self.met.set()

    def _answer(self) -> None:
        """Those that ask now, among what those have left that are gone."""
        store = self._connected()  # whoever waits in a connection lets nobody else use it
        answered: set[str] = set()
        while not self.met.wait(POLL):
            for rank in range(1, self.world):
                if store.check([key := f"asks {rank}"]):
                    asks = store.get(key).decode()
                    if asks not in answered:
                        store.set(f"answer to {asks}", self.own)
                        answered.add(asks)

    def _connected(self) -> Store:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return TCPStore(*place, self.world, is_master=False, timeout=self.timeout)


def from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would have set, for processes that srun started instead; else nothing.

    Only srun counts a step's tasks: inside sbatch or salloc a lone process stays alone.
    """
    if "RANK" in environment or "SLURM_STEP_NUM_TASKS" not in environment:
        return {}
    nodes = environment["SLURM_STEP_NODELIST"]  # such as gpu[03-05,9],login
    tasks = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))  # such as 8(x2)
    local = {"LOCAL_WORLD_SIZE": tasks[0]} if tasks else {}
    first = re.sub(r"\[(\d+)[^]]*\]", r"\1", nodes).split(",")[0]
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        **local,
        "MASTER_ADDR": environment.get("MASTER_ADDR", first),
        # one port a job, so that two jobs on a machine do not meet
        "MASTER_PORT": environment.get(
            "MASTER_PORT", str(20000 + int(environment["SLURM_JOB_ID"]) % 20000)
        ),
    }


def own_gpu() -> int:
    """The number of this process's GPU; raises ConfigurationError where it has none."""
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= gpus:
        raise ConfigurationError(
            f"process {place} of this machine has no GPU of its own: there are {gpus}; "
            "start at most one process a GPU, or choose the device cpu"
        )
    return place
