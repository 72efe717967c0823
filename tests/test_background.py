import threading

import pytest
import torch

from sgmim.checkpoint.background import Background, Copier
from sgmim.errors import FileError


def test_one_job_is_done_at_a_time_and_all_before_the_end():
    busy, most, done = threading.Semaphore(1), [], []

    def job(number):
        most.append(busy.acquire(blocking=False))
        threading.Event().wait(0.01)
        done.append(number)
        busy.release()

    with Background() as saving:
        for number in range(5):
            saving.start(lambda number=number: job(number))
    assert done == list(range(5)) and all(most)


def fail():
    raise FileError("full")


@pytest.mark.parametrize("then", ["start", "finish", "leave", "look"])
def test_what_a_job_raises_is_raised_by_what_comes_next(then):
    with pytest.raises(FileError, match="full"), Background() as saving:
        saving.start(fail)
        if then == "start":
            saving.start(lambda: None)
        elif then == "finish":
            saving.finish()
        elif then == "look":
            while not saving.job.done():
                pass
            saving.look()


def test_another_error_is_not_hidden_by_that_of_a_job():
    with pytest.raises(KeyError), Background() as saving:
        saving.start(fail)
        raise KeyError


def test_a_copy_stays_as_it_was_and_the_next_takes_its_place():
    weight = torch.nn.Parameter(torch.arange(4.0))
    state, copy = {"a": {0: weight}, "b": [weight.detach(), 3], "c": None}, Copier()
    first = copy(state)()
    with torch.no_grad():
        weight += 1
    assert first["a"][0].tolist() == [0, 1, 2, 3] == first["b"][0].tolist()
    assert (first["b"][1], first["c"]) == (3, None)
    address = first["a"][0].data_ptr()
    second = copy(state)()
    assert second["a"][0].tolist() == [1, 2, 3, 4] and second["a"][0].data_ptr() == address
