"""Loading processes are killed, at any time and by any file."""

import multiprocessing
import os
import random
import signal
import threading
from time import monotonic, sleep

import pytest

from faults.children import HANGS
from sgmim.data import workers
from sgmim.errors import DataError

pytestmark = pytest.mark.slow

KILLS = 50
EACH = 5  # kills a run of the loader
PLACES = [[(0, 4 * batch + place) for place in range(4)] for batch in range(120)]
WHOLE = [[index for _, index in batch] for batch in PLACES]


class Slow:
    """Numbers, each a while in coming; one may kill, or stop, whoever reads it."""

    def __init__(self, deadly=None, number=signal.SIGKILL):
        self.deadly, self.number = deadly, number

    def __len__(self):
        return 4 * len(PLACES)

    def __getitem__(self, place):
        if place[1] == self.deadly:
            os.kill(os.getpid(), self.number)
        sleep(0.002)
        return place[1]


def loaded(dataset, count):
    name = "file {}.jpg".format
    return workers.load(dataset, PLACES, count, name=name, collate_fn=list)


def killing(draw, kills):
    """A thread that kills loading processes, not faster than they are replaced."""

    def work():
        for _ in range(EACH):
            sleep(draw.uniform(0.05, 0.3))
            alive = multiprocessing.active_children()
            if alive:
                os.kill(draw.choice(alive).pid, draw.choice([signal.SIGKILL, signal.SIGSEGV]))
                kills.append(monotonic())
            sleep(1.2)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_run_goes_on_when_a_loading_process_is_killed(recorded, monkeypatch):
    draw, kept, kills = random.Random(0), 0, []
    monkeypatch.setattr(workers, "LOOK", 0.2)
    while len(kills) < KILLS:
        before = len(kills)
        thread, longest, last, got = killing(draw, kills), 0.0, monotonic(), []
        try:
            while thread.is_alive():
                got = []
                for batch in loaded(Slow(), 3):
                    longest, last = max(longest, monotonic() - last), monotonic()
                    got.append(batch)
        except DataError as error:  # it was killed twice at the same file
            longest = max(longest, monotonic() - last)
            assert "while it read file" in str(error)
        thread.join()
        if longest < HANGS and got == WHOLE[: len(got)]:
            kept += len(kills) - before
    recorded(
        "dead worker", "killed: every batch comes as it would have, or a file is named, 0 hangs",
        len(kills), kept,
    )  # fmt: skip


DEADLY = {
    signal.SIGKILL: "was ended by SIGKILL",
    signal.SIGSEGV: "was ended by SIGSEGV",
    signal.SIGSTOP: "hangs for more than 2 seconds",
}


def test_a_file_that_kills_or_stops_whoever_reads_it_is_named(recorded, monkeypatch):
    draw, kept = random.Random(1), 0
    monkeypatch.setattr(workers, "LOOK", 0.2)
    monkeypatch.setattr(workers, "HUNG", 2.0)
    for number in range(KILLS):
        how = list(DEADLY)[number % len(DEADLY)]
        deadly, began = draw.randrange(4 * 40), monotonic()
        got = []
        try:
            for batch in loaded(Slow(deadly, how), draw.choice([1, 2])):
                got.append(batch)
        except DataError as error:
            told = f"{DEADLY[how]} while it read file {deadly}.jpg" in str(error)
            before = got == WHOLE[: len(got)] and len(got) <= deadly // 4
            kept += told and before and monotonic() - began < HANGS
    recorded(
        "dead worker", "killed or stopped by a file: its name within 60 s, 0 hangs", KILLS, kept
    )
