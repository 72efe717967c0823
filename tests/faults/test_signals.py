"""A run is asked to stop, again and again, at any time of its life."""

import os
import random
import re
import signal
import subprocess
import sys
from time import monotonic, sleep

import pytest
from torch.testing import assert_close

from faults import children
from sgmim import signals
from sgmim.checkpoint import latest
from shell import SCENES, TINY, handed_over, sgmim

pytestmark = pytest.mark.slow

SIGNALS = 50
LAUNCHES = 5  # of two processes
EXITS = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
# random depth, several micro-batches and a moving average make it hard to go on exactly
RUN = (
    *("pretrain", "sgmim", *TINY, *SCENES, "--encoder.drop_path=0.3", "--training.accumulate=2"),
    *("--training.ema=0.9", "--training.save_every=40", "--training.log_every=4"),
    *("--training.pictures_every=100", "--training.steps=500"),
)


def spoken(number, code, said, folder):
    """Whether a run that was sent a signal ended as it should, or had been done before."""
    lines = [line for line in said.splitlines() if line.startswith("sgmim: ")]
    if code == 0:
        return not lines
    if code != EXITS[number] or len(lines) != 1 or "Traceback" in said:
        return False
    where = re.search(
        r"stopped by (SIG\w+) after step (\d+)(, the last)?, which is saved", lines[0]
    )
    if where is None:  # before there was anything to save
        return lines[0] in (
            f"sgmim: stopped by {number.name}; the same command starts again",
            "sgmim: interrupted",
        )
    return where[1] == number.name and latest(folder).step == int(where[2])


def started(draw, words, folder, told):
    """A run that is on its way, or mostly so."""
    pid = children.start(lambda: sgmim(*words, f"--run={folder}"), told)
    if draw.random() < 0.2:
        sleep(draw.uniform(0.05, 0.5))
        return pid
    deadline = monotonic() + children.HANGS
    while not (told.exists() and "\nstep " in told.read_text()) and monotonic() < deadline:
        sleep(0.01)
    sleep(draw.uniform(0.0, 0.2))
    return pid


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_by_signals_ends_at_the_same_weights(workers, tmp_path, recorded):
    draw, kept, count, stopped = random.Random(workers), 0, SIGNALS // 2, 0
    words = [*RUN, f"--batches.workers={workers}"]
    told = tmp_path / "told.txt"
    folder = tmp_path / "stopped"
    for _ in range(count):
        told.unlink(missing_ok=True)
        pid = started(draw, words, folder, told)
        number = draw.choice(list(EXITS))
        os.kill(pid, number)
        code = children.end(pid)
        kept += spoken(number, code, told.read_text(), folder)
        stopped += "which is saved" in told.read_text()
    assert stopped > count / 2, "most signals came before the first step: little was tested"
    assert sgmim(*words, f"--run={folder}") == 0
    assert sgmim(*words, f"--run={tmp_path / 'straight'}") == 0
    assert_close(handed_over(folder), handed_over(tmp_path / "straight"), rtol=0, atol=0)
    recorded(
        "preemption",
        f"SIGTERM, SIGUSR1 or SIGINT, {workers} loading processes: step done, saved, one line, "
        "exit 75 (130 for SIGINT); ends at the same weights to the bit",
        count,
        kept,
    )


def test_a_second_signal_ends_a_run_at_once(tmp_path, recorded):
    draw, kept, told = random.Random(2), 0, tmp_path / "told.txt"
    at_once = {75, 130} | {128 + number for number in EXITS} | {-number for number in EXITS}
    for _ in range(SIGNALS):
        told.unlink(missing_ok=True)
        pid = started(draw, RUN, tmp_path / "run", told)
        for _ in range(2):
            os.kill(pid, draw.choice(list(EXITS)))
            sleep(draw.choice([0, 0, 0.01]))
        code = children.end(pid, seconds=2)
        found = latest(tmp_path / "run")
        kept += code in at_once and not (found and found.passed_over)
    recorded("preemption", "a second signal ends the run within 2 s", SIGNALS, kept)


def test_all_processes_stop_after_the_same_step_whichever_is_asked(tmp_path, recorded):
    draw, kept, folder = random.Random(3), 0, tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*launch, "-m", "--", "sgmim", *RUN, f"--run={folder}"]
    for _ in range(LAUNCHES):
        with open(tmp_path / "told.txt", "w") as told:
            run = subprocess.Popen(words, stdout=told, stderr=told)
        deadline = monotonic() + children.HANGS
        while "\nstep " not in (tmp_path / "told.txt").read_text() and monotonic() < deadline:
            sleep(0.05)
        os.kill(draw.choice(children.workers_of(run.pid)), draw.choice(signals.PREEMPTING))
        run.wait(children.HANGS)
        said = (tmp_path / "told.txt").read_text()
        step = re.search(r"sgmim: stopped by .* after step (\d+), which is saved", said)
        codes = re.findall(r"exitcode\s+: (-?\d+)", said)
        # torchrun signals whoever is still on its way out: that may end with -15
        kept += (
            bool(step)
            and set(codes) <= {"75", "-15"}
            and "75" in codes
            and latest(folder).step == int(step[1])
        )
    recorded(
        "preemption", "one of 2 processes under torchrun is asked: both stop after the same step, "
        "exit 75", LAUNCHES, kept,
    )  # fmt: skip
