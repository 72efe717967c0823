"""Several processes of one run, forked from what is imported here and joined to each other."""

import os
import pickle
import socket
from functools import partial

import pytest
import torch

from faults import children
from sgmim import distributed


def joined(work, world, folder, seconds=120):
    """What `work(rank)` returns in each of so many processes that have joined; one is just alone.

    What they say goes to files in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    one = partial(_one, work, world, free_port(), folder)
    told = [folder / f"told_{rank}.txt" for rank in range(world)]
    pids = [children.start(partial(one, rank), told[rank]) for rank in range(world)]
    codes = [children.end(pid, seconds) for pid in pids]
    if any(codes):
        pytest.fail(f"exit codes {codes}\n" + "\n".join(file.read_text() for file in told))
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(world)]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def place(rank, world, port):
    """Tell this process where it is, as torchrun does."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _one(work, world, port, folder, rank):
    torch.set_num_threads(1)
    if world > 1:
        place(rank, world, port)
    leave = distributed.stop
    distributed.stop = lambda failed=None: None  # commands leave at their end, and more may come
    distributed.start("cpu")
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(work(rank)))
    leave()
