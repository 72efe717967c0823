import os
import signal
import threading
from time import monotonic, sleep

import pytest
from torch.testing import assert_close

from faults import children
from sgmim import signals
from sgmim.checkpoint import latest
from sgmim.errors import Preempted
from shell import SCENES, TINY, handed_over, sgmim

RUN = (
    *("pretrain", "sgmim", *TINY, *SCENES, "--encoder.drop_path=0.3", "--training.ema=0.9"),
    *("--training.steps=30", "--training.save_every=25"),
)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_to_the_same_weights(tmp_path):
    words, told = (*RUN, f"--run={tmp_path / 'stopped'}"), tmp_path / "told.txt"
    pid = children.start(lambda: sgmim(*words), told)
    while not (told.exists() and "step 3 " in told.read_text()):
        sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert children.end(pid) == 75
    (line,) = [line for line in told.read_text().splitlines() if line.startswith("sgmim: ")]
    done = latest(tmp_path / "stopped").step
    assert line == (
        f"sgmim: stopped by SIGTERM after step {done}, which is saved; "
        "the same command goes on from there"
    )
    assert sgmim(*words) == 0
    assert sgmim(*RUN, f"--run={tmp_path / 'straight'}") == 0
    assert_close(
        handed_over(tmp_path / "stopped"), handed_over(tmp_path / "straight"), rtol=0, atol=0
    )


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_the_first_signal_is_noted_and_the_second_ends_the_process_at_once(number, tmp_path):
    def work():
        with signals.listening() as listener:
            os.kill(os.getpid(), number)
            deadline = monotonic() + 10
            while not listener and monotonic() < deadline:
                sleep(0.01)
            if listener.first != number:
                return 1
            os.kill(os.getpid(), number)
            sleep(10)
        return 2

    assert children.done(work, tmp_path / "told.txt") == 128 + number


def test_what_does_not_train_is_ended_by_the_first_signal(capsys, monkeypatch):
    def ask(*_):
        os.kill(os.getpid(), signal.SIGUSR1)
        sleep(10)

    monkeypatch.setattr("sgmim.commands.list.main", ask)
    assert sgmim("list") == 75
    said = capsys.readouterr().err
    assert said == "sgmim: stopped by SIGUSR1; the same command starts again\n"


def test_handlers_are_as_they_were_afterwards():
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.ending(), signals.listening() as listener:
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert not listener


def test_a_run_in_another_thread_is_left_alone():
    heard = []

    def work():
        with signals.listening() as listener:
            heard.append(bool(listener))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]


def test_processes_started_deaf_do_not_hear(tmp_path):
    with signals.deaf():
        pid = children.start(lambda: sleep(0.5), tmp_path / "told.txt")
    sleep(0.1)
    for number in signals.SIGNALS:
        os.kill(pid, number)
    assert children.end(pid) == 0


def test_a_program_that_does_not_catch_it_ends_with_75(tmp_path):
    def work():
        try:
            raise Preempted("stopped")
        except SystemExit as stop:
            return stop.code

    assert children.done(work, tmp_path / "told.txt") == 75
