import os
import signal
from functools import partial
from time import monotonic, sleep

import pytest
import torch

from faults import children
from processes import free_port, place
from sgmim import distributed
from sgmim.distributed import pulse
from sgmim.errors import DataError

WORLD = 3
LOST = pulse.LostError.exit_code


def exchange(work, rank, port):
    """Sum up numbers with the others until one is gone; `work(rank, number)` is what befalls."""
    torch.set_num_threads(1)
    pulse.BEAT, pulse.PATIENCE, pulse.SUSPICION, pulse.GRACE = 0.25, 2.0, 1.5, 1.0
    place(rank, WORLD, port)
    try:
        with distributed.together():
            distributed.start("cpu")
            for number in range(1000):
                if work(rank, number):
                    break
                distributed.mean({"number": float(number)})
                sleep(0.01)
    except (pulse.LostError, DataError) as error:  # as the command line does
        print(f"sgmim: {error}")
        return error.exit_code


def killed(rank, number):
    if rank == 1 and number == 30:
        os.kill(os.getpid(), signal.SIGKILL)


def killed_first(rank, number):
    if rank == 0 and number == 30:
        os.kill(os.getpid(), signal.SIGKILL)


def suspended(rank, number):
    if rank == 1 and number == 30:
        os.kill(os.getpid(), signal.SIGSTOP)


def broken(rank, number):
    if rank == 1 and number == 30:
        raise DataError("all images are broken")


def well(rank, number):
    if number == 30 and rank == 0:
        sleep(4.0)  # the last to leave, by longer than it takes to be missed
    return number == 30


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (killed, "no life sign of process 1 of 3 on"),
        (killed_first, "process 0 is gone"),
        (suspended, "no life sign of process 1 of 3 on"),
        (broken, "ended: DataError: all images are broken"),
    ],
)
def test_who_is_lost_is_named_by_the_others_which_end(event, told, tmp_path):
    port, began = free_port(), monotonic()
    said = [tmp_path / f"{rank}.txt" for rank in range(WORLD)]
    pids = [children.start(partial(exchange, event, r, port), said[r]) for r in range(WORLD)]
    victim = 0 if event is killed_first else 1
    codes = [children.end(pid, 20) for rank, pid in enumerate(pids) if rank != victim]
    took = monotonic() - began
    if event is suspended:
        os.kill(pids[victim], signal.SIGKILL)
    end = children.end(pids[victim], 20)
    assert codes == [LOST] * 2 and took < 15
    assert end == (DataError.exit_code if event is broken else -signal.SIGKILL)
    for rank in {0, 1, 2} - {victim}:
        text = said[rank].read_text()
        assert told in text and "Traceback" not in text


def test_who_leaves_in_good_order_is_not_missed(tmp_path):
    port, said = free_port(), [tmp_path / f"{rank}.txt" for rank in range(WORLD)]
    pids = [children.start(partial(exchange, well, r, port), said[r]) for r in range(WORLD)]
    codes = [children.end(pid, 20) for pid in pids]
    assert codes == [0] * WORLD
    assert not any("sgmim:" in file.read_text() for file in said)
