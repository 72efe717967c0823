"""A process of a run under torchrun --max-restarts is killed, again and again."""

import os
import random
import signal
import subprocess
import sys
from time import monotonic, sleep

import pytest
from safetensors.torch import load_file

from faults import children
from shell import SCENES, TINY, log

pytestmark = pytest.mark.slow

KILLS = 20
STEPS = 400
PATIENCE = 60  # seconds in which a run goes on after a kill


def command(run, strategy, restarts=0):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = (f"--training.steps={STEPS}", "--training.save_every=10", "--training.log_every=5")
    more = (f"--run={run}", f"--parallel.strategy={strategy}", "--training.pictures_every=0")
    own = ("-m", "--", "sgmim", "pretrain", "sgmim", *TINY, *SCENES, *words, *more)
    return [*start, f"--max-restarts={restarts}", *own]


def lines(run):
    return log(run) if (run / "log.jsonl").is_file() else []


def killed(agent, run, draw):
    """Wait until the run goes on, and kill one of its processes; whether there was one."""
    before, began = lines(run), monotonic()
    while agent.poll() is None and monotonic() < began + PATIENCE:
        if lines(run)[-1:] != before[-1:]:
            sleep(0.3 * draw.random())
            workers = children.workers_of(agent.pid)
            if workers:
                os.kill(draw.choice(workers), signal.SIGKILL)
            return bool(workers)
        sleep(0.02)
    return False


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_run_whose_processes_are_killed_ends_with_the_same_weights(strategy, tmp_path, recorded):
    straight, run, draw = tmp_path / "straight", tmp_path / "run", random.Random(strategy)
    subprocess.run(command(straight, strategy), check=True, capture_output=True)
    count = KILLS // 2
    with open(tmp_path / "told.txt", "w") as told:
        agent = subprocess.Popen(command(run, strategy, count), stdout=told, stderr=told)
        kept = sum(killed(agent, run, draw) for _ in range(count))
        assert agent.wait(300) == 0, (tmp_path / "told.txt").read_text()[-3000:]
    for name in ("objective", "encoder"):
        ours, theirs = (load_file(at / f"{name}.safetensors") for at in (run, straight))
        kept *= all(ours[key].equal(theirs[key]) for key in theirs)
    recorded("killed ranks", f"{strategy}, --max-restarts: same final weights", count, kept)
