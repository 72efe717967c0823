import os
import socket

import pytest
import torch
from torch import multiprocessing
from torch.testing import assert_close

from sgmim import distributed
from sgmim.checkpoint import latest, save
from sgmim.distributed.joining import from_slurm
from sgmim.draws import seeded
from sgmim.ema import MovingAverage
from sgmim.optim import adamw
from sgmim.training import read, steps
from toys import batches, micro, toy

WORLD = 2
STEPS = 3


def trained(data, **options):
    """What came of a short run: gradient norms, losses, weights and their average."""
    objective = toy()
    optimizer = adamw(objective, lr=1e-2)
    ema = MovingAverage(objective, decay=0.5)
    options = {"ema": ema, "clip": 0.5, "precision": "fp32"} | options
    taken = list(map(read, steps(distributed.wrap(objective), optimizer, data, **options)))
    return {
        "norms": [numbers["grad_norm"] for numbers in taken],
        "losses": [distributed.mean(numbers)["loss"] for numbers in taken],
        "weights": dict(objective.named_parameters()),
        "average": dict(ema.objective.named_parameters()),
    }


def share_of(data, rank):
    return [micro(batch, WORLD)[rank] for batch in data]


def work(rank, port, folder):
    """One of two processes, as torchrun starts it."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    seen = {"device": str(distributed.start("cpu"))}
    seen |= {"rank": distributed.rank(), "world": distributed.world()}
    seen |= {"is_main": distributed.is_main()}
    seen["mean"] = distributed.mean({"a": rank, "b": torch.tensor(2.0 * rank)})
    asked = distributed.Agreement()  # the second process is asked in the second step, once
    seen["asked"] = [asked(rank == 1 and number == 1) for number in range(5)]
    seen["plain"] = trained(share_of(batches(STEPS, size=8), rank))
    seen["accumulated"] = trained(
        share_of([p for b in batches(STEPS, size=16) for p in micro(b, 2)], rank), accumulate=2
    )
    seen["resumed"] = resumed(rank, folder)
    torch.save(seen, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.stop()


def resumed(rank, folder):
    """The weights of a run with dropout, straight through and after a stop."""
    ends = []
    for stops in ((4,), (2, 4)):
        run = folder / f"run{len(stops)}"
        for stop in stops:
            objective = toy(dropout=0.3)
            optimizer = adamw(objective, lr=1e-2)
            start = 0
            if checkpoint := latest(run):
                checkpoint.restore(objective, optimizer)
                start = checkpoint.step
            shared = distributed.wrap(objective)
            data = seeded(share_of(batches(stop, start=start), rank), 0, start=start, rank=rank)
            for _ in steps(shared, optimizer, data, start=start):
                pass
            if distributed.is_main():
                save(run, stop, shared, optimizer)
            distributed.barrier()
        ends.append(dict(objective.named_parameters()))
    return ends


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What each of the two processes saw."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (port, folder), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_each_process_knows_its_place(seen):
    assert [process["rank"] for process in seen] == [0, 1]
    assert [process["is_main"] for process in seen] == [True, False]
    assert {process["world"] for process in seen} == {WORLD}


def test_the_mean_is_over_all_processes(seen):
    assert [process["mean"] for process in seen] == [{"a": 0.5, "b": 1.0}] * WORLD


def test_what_one_process_is_asked_all_know_one_step_later(seen):
    for process in seen:
        assert process["asked"] == [False, False, True, False, False]


def test_one_process_agrees_with_itself_at_once():
    asked = distributed.Agreement()
    assert [asked(flag) for flag in (False, True, False)] == [False, True, False]


@pytest.mark.parametrize("way", ["plain", "accumulated"])
def test_two_processes_train_as_one_does_on_the_joined_batch(way, seen):
    alone = trained(batches(STEPS, size=8 if way == "plain" else 16))
    for process in seen:
        assert_close(process[way], alone, rtol=1e-5, atol=1e-6)


def test_processes_hold_the_same_weights_to_the_bit(seen):
    one, other = seen
    assert_close(one["accumulated"]["weights"], other["accumulated"]["weights"], rtol=0, atol=0)


def test_two_processes_go_on_exactly_where_they_stopped(seen):
    for process in seen:
        straight, stopped = process["resumed"]
        assert_close(stopped, straight, rtol=0, atol=0)


def test_in_one_process_it_does_nothing():
    objective = toy()
    assert distributed.start("cpu") == torch.device("cpu")
    assert distributed.wrap(objective) is objective is distributed.bare(objective)
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
    assert distributed.mean({"a": torch.tensor(3.0)}) == {"a": 3.0}
    distributed.barrier()
    distributed.stop()


SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu1", "gpu1"), ("gpu[03-05,9],big7", "gpu03"), ("a-1,a-2", "a-1"), ("r1n[8]", "r1n8")],
)
def test_processes_that_srun_started_find_each_other(nodes, first):
    place = from_slurm({**SRUN, "SLURM_STEP_NODELIST": nodes})
    assert place["MASTER_ADDR"] == first
    assert (place["RANK"], place["WORLD_SIZE"], place["LOCAL_RANK"]) == ("5", "8", "1")
    assert place["LOCAL_WORLD_SIZE"] == "4"
    assert 1024 < int(place["MASTER_PORT"]) < 65536


def test_a_lone_process_inside_an_allocation_stays_alone():
    assert from_slurm({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}) == {}
    assert from_slurm({**SRUN, "RANK": "0"}) == {}
