"""A run is killed while it saves, again and again, on two file systems."""

import mmap
import os
import random
import signal
import struct
import tempfile
from pathlib import Path
from time import sleep

import pytest

from faults import children
from sgmim import checkpoint
from sgmim.checkpoint.background import Background, Copier
from test_checkpoint import Run

pytestmark = pytest.mark.slow

KILLS = 200
INTERVAL = 2  # steps between checkpoints
FOLDERS = (tempfile.gettempdir(), "/dev/shm")


def train(folder, begun):
    """Train and save beside it, as runs.train does, until killed."""
    run, copy = Run(), Copier()
    if found := checkpoint.latest(folder):
        run.restore(found)
    with Background() as saving:
        while True:
            run.go_to(run.done + INTERVAL)
            taken = copy(checkpoint.content(run.done, run.objective, run.optimizer, ema=run.ema))
            saving.finish()
            struct.pack_into("q", begun, 0, run.done)
            saving.start(lambda taken=taken: checkpoint.write(folder, taken()))


@pytest.mark.parametrize("place", FOLDERS)
def test_a_run_killed_while_it_saves_loses_at_most_one_interval(place, recorded):
    draw, kept, count = random.Random(place), 0, KILLS // len(FOLDERS)
    begun = mmap.mmap(-1, 8)
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        for _ in range(count):
            pid = children.start(lambda: train(folder, begun), folder / "told.txt")
            sleep(0.03 + 0.05 * draw.random())
            os.kill(pid, signal.SIGKILL)
            children.end(pid)
            found = checkpoint.latest(folder)
            reached = struct.unpack_from("q", begun, 0)[0]
            saved = found.step if found else 0
            kept += not (found and found.passed_over) and saved >= reached - INTERVAL
        Run().restore(checkpoint.latest(folder))
        assert reached > count, "the run got nowhere: nothing was tested"
    recorded(
        "atomic checkpoints",
        f"SIGKILL while saving, in {place}: readable, at most one interval lost",
        count,
        kept,
    )
