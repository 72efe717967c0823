import multiprocessing
import os
import signal
import time

import pytest

from sgmim.data import workers
from sgmim.errors import DataError

BATCHES = [[(0, 4 * batch + place) for place in range(4)] for batch in range(8)]
WHOLE = [[index for _, index in batch] for batch in BATCHES]


class Numbers:
    """Numbers, before one of which something happens."""

    def __init__(self, at=None, what=None):
        self.at, self.what = at, what

    def __len__(self):
        return 32

    def __getitem__(self, place):
        index = place[-1] if isinstance(place, tuple) else place
        if index == self.at:
            self.what()
        return index


def load(dataset, count):
    return workers.load(dataset, BATCHES, count, name="file {}".format, collate_fn=list)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(workers, "LOOK", 0.1)
    monkeypatch.setattr(workers, "HUNG", 1.0)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_everything_comes_in_order_whoever_loads_it(count):
    assert list(load(Numbers(), count)) == WHOLE
    loaded = workers.load(Numbers(), range(32), count, in_batches=False, collate_fn=int)
    assert list(loaded) == list(range(32))


def test_a_process_that_dies_once_is_replaced_and_nothing_is_lost(tmp_path, capsys):
    def die_once():
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert list(load(Numbers(13, die_once), 2)) == WHOLE
    assert "ended by SIGKILL while it read file 13; going on" in capsys.readouterr().err


def test_a_file_that_stops_whoever_reads_it_is_named():
    with pytest.raises(DataError, match="hangs for more than 1 seconds while it read file 6:"):
        list(load(Numbers(6, lambda: time.sleep(100)), 1))


def test_a_slow_batch_is_no_reason_to_give_up():
    slow = Numbers()
    slow.__class__ = type("Slow", (Numbers,), {"__getitem__": lambda s, p: time.sleep(0.3) or p[1]})
    assert next(load(slow, 1)) == WHOLE[0]


def test_a_mistake_in_our_own_code_is_told_as_it_is():
    def fail():
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        list(load(Numbers(5, fail), 1))


def test_no_process_is_left_behind():
    stream = load(Numbers(), 2)
    next(stream)
    assert len(multiprocessing.active_children()) >= 2
    stream.close()
    assert not multiprocessing.active_children()


def test_loading_processes_do_not_hear_what_is_meant_for_the_run():
    stream = load(Numbers(), 2)
    next(stream)
    for process in multiprocessing.active_children():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(process.pid, number)
    assert list(stream) == WHOLE[1:]
