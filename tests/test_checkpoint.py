import os
import random
import resource
import signal
import time
import zipfile

import pytest
import torch
from torch.testing import assert_close

from sgmim.checkpoint import latest, save
from sgmim.draws import seeded
from sgmim.ema import MovingAverage
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.optim import adamw
from sgmim.schedules import Cosine
from sgmim.training import steps
from toys import batches, toy

STEPS = 8
ACCUMULATE = 2


class Run:
    """A run with everything in it that has a state: dropout, moments, schedule, average."""

    def __init__(self):
        self.objective = toy(dropout=0.3)
        self.optimizer = adamw(self.objective, lr=1e-2)
        self.ema = MovingAverage(self.objective, decay=0.9)
        self.done = 0

    def go_to(self, end):
        first = self.done * ACCUMULATE
        data = seeded(batches(end * ACCUMULATE, start=first), seed=3, start=first)
        schedule = Cosine(lr=1e-2, steps=STEPS, warmup=2)
        options = {"start": self.done, "accumulate": ACCUMULATE, "ema": self.ema}
        for step in steps(self.objective, self.optimizer, data, schedule=schedule, **options):
            self.done = step.number + 1
        return self

    def save(self, folder, **options):
        return save(folder, self.done, self.objective, self.optimizer, ema=self.ema, **options)

    def restore(self, checkpoint, **options):
        checkpoint.restore(self.objective, self.optimizer, ema=self.ema, **options)
        self.done = checkpoint.step
        return self

    def state(self):
        moments = self.optimizer.state_dict()["state"]
        return self.objective.state_dict(), self.ema.objective.state_dict(), moments


@pytest.fixture(scope="module")
def finished():
    return Run().go_to(STEPS).state()


@pytest.mark.parametrize("stop", range(STEPS))
def test_a_run_that_was_stopped_ends_at_the_same_weights_to_the_bit(stop, finished, tmp_path):
    Run().go_to(stop).save(tmp_path)
    torch.rand(stop)  # another process has drawn other random numbers
    resumed = Run().restore(latest(tmp_path)).go_to(STEPS)
    assert resumed.done == STEPS
    assert_close(resumed.state(), finished, rtol=0, atol=0)


def test_dropout_plays_a_part_in_that(finished):
    run = Run()
    run.objective.dropout.p = 0.0
    assert not torch.equal(run.go_to(STEPS).objective.head.weight, finished[0]["head.weight"])


def test_a_run_without_checkpoints_begins_anew(tmp_path):
    assert latest(tmp_path) is None
    assert latest(tmp_path / "nowhere") is None


def test_only_the_newest_are_kept(tmp_path):
    run = Run()
    paths = [run.go_to(end).save(tmp_path, keep=2) for end in range(1, 5)]
    assert sorted((tmp_path / "checkpoints").iterdir()) == paths[-2:]
    assert latest(tmp_path).step == 4


def cut(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


def zeros(content):
    return bytes(len(content))


def text(content):
    return b"<html>404</html>"


def one_bit(content):
    """In the middle of a weight."""
    weight = toy().head.weight.detach().numpy().tobytes()
    at = content.index(weight) + 100
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("harm", [cut, empty, zeros, text, one_bit])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(harm, tmp_path):
    run = Run()
    run.save(tmp_path)
    run.done = 1
    newest = run.save(tmp_path)
    newest.write_bytes(harm(newest.read_bytes()))
    checkpoint = latest(tmp_path)
    assert checkpoint.step == 0
    assert list(checkpoint.passed_over) == [newest.name]
    Run().restore(checkpoint)


def test_no_single_damaged_byte_loads_as_other_weights(tmp_path):
    run = Run().go_to(1)
    path, before = run.save(tmp_path), run.state()
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(50):
        at = draw.randrange(len(whole))
        path.write_bytes(
            whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :]
        )
        try:
            checkpoint = latest(tmp_path)
        except DataError:
            continue
        assert_close(Run().restore(checkpoint).state(), before, rtol=0, atol=0)


def test_a_run_with_only_damaged_checkpoints_does_not_silently_begin_anew(tmp_path):
    path = Run().save(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no checkpoint .* can be read .*step_00000000\.pt"):
        latest(tmp_path)


def test_a_changed_configuration_is_refused_and_the_change_named(tmp_path):
    configuration = {"method": {"mask_ratio": 0.6, "betas": (0.9, 0.95)}, "seed": 0}
    Run().save(tmp_path, configuration=configuration)
    Run().restore(latest(tmp_path), configuration=configuration)
    Run().restore(latest(tmp_path))
    configuration["method"]["mask_ratio"] = 0.75
    with pytest.raises(ConfigurationError, match=r"method\.mask_ratio \(0\.6 then, 0\.75 now\)"):
        Run().restore(latest(tmp_path), configuration=configuration)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    Run().save(tmp_path)
    other = Run()
    other.objective.head = torch.nn.Conv2d(8, 12, 1)
    with pytest.raises(DataError, match="another model"):
        other.restore(latest(tmp_path))


def test_a_checkpoint_runs_no_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = Run().save(tmp_path)
    torch.save({"step": 0, "objective": Malicious()}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(DataError):
        latest(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_killing_a_run_while_it_saves_leaves_a_checkpoint_that_loads(tmp_path):
    run = Run().go_to(1)
    draw = random.Random(0)
    run.save(tmp_path)
    reached = run.done
    for _ in range(12):
        child = os.fork()
        if child == 0:  # saves until it is killed
            while True:
                run.done += 1
                run.save(tmp_path)
        time.sleep(0.02 + 0.05 * draw.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        checkpoint = latest(tmp_path)
        assert checkpoint.step >= reached  # a busy machine may not get to save
        assert not checkpoint.passed_over
        reached = run.done = checkpoint.step
        Run().restore(checkpoint)
    run.done += 1
    run.save(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2  # and no torn files


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_before(tmp_path):
    run = Run()
    kept = run.save(tmp_path)
    run.go_to(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kept.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(FileError, match=r"cannot write .*step_00000001\.pt"):
            run.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "checkpoints").iterdir()) == [kept]
    assert latest(tmp_path).step == 0
