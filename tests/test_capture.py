import math

import pytest
import torch

from faults import children
from sgmim.checkpoint import latest
from sgmim.doctor.diagnosis import examine
from sgmim.doctor.replay import replay
from sgmim.errors import DataError, FileError
from sgmim.objective import Moment, Objective
from shell import SCENES, TINY, files, sgmim
from toys import batches, toy

RUN = ("pretrain", "sgmim", *TINY, *SCENES, "--training.accumulate=2")
WILD = ("--training.lr=1e30", "--training.steps=12", "--training.log_every=6")


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A run whose rate is far too high, and what it said."""
    folder = tmp_path_factory.mktemp("diverged")
    code = children.done(lambda: sgmim(*RUN, *WILD, f"--run={folder / 'run'}"), folder / "told.txt")
    return code, (folder / "told.txt").read_text(), folder / "run"


def test_a_run_that_diverges_says_so_and_leaves_its_step(diverged):
    code, said, run = diverged
    assert code == 65 and "Traceback" not in said
    assert "training diverged: up to step" in said and f"--replay {run / 'diverged'}" in said
    assert files(run / "diverged") == ["config.yaml", "rank_0.safetensors", "weights.safetensors"]
    assert latest(run) is None  # nothing that came after is kept


def test_its_replay_names_what_failed_first(diverged):
    lines = replay(diverged[2] / "diverged")
    assert lines[0].startswith("step ") and lines[0].endswith("process 0 of 1")
    assert any("losses of micro-batch" in line or "gradients" in line for line in lines)
    assert not any("does not come back" in line for line in lines)


def test_the_doctor_tells_of_the_replay(diverged, capsys):
    assert sgmim("doctor", "--replay", diverged[2] / "diverged") == 0
    assert capsys.readouterr().out.splitlines() == replay(diverged[2] / "diverged")


def test_its_replay_is_told_the_time_of_the_step(diverged, monkeypatch):
    told = []
    monkeypatch.setattr(Objective, "begin", lambda self, moment: told.append(moment))
    lines = replay(diverged[2] / "diverged")
    step = int(lines[0].split()[1].strip(","))
    assert told == [Moment(step, steps=12, epoch=step / 3)]  # 24 scenes, 8 a step


def test_a_folder_that_is_no_capture_is_named(tmp_path):
    with pytest.raises(FileError, match="is no capture"):
        replay(tmp_path)


def test_a_capture_that_was_tampered_with_is_refused(diverged):
    file = diverged[2] / "diverged" / "rank_0.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is no capture of batches"):
        replay(diverged[2] / "diverged")
    file.write_bytes(whole)


def look(objective, batch, **options):
    return examine(objective, [batch], first=0, seed=0, **options)


def test_a_healthy_step_has_nothing_to_tell():
    assert look(toy(), next(batches(1))) == []


def test_a_bad_pixel_is_told_by_the_name_of_its_file():
    batch = next(batches(1)) | {"index": torch.tensor([4, 7, 2, 9])}
    batch["image"][1, 2, 3, 3] = math.nan
    told = look(toy(), batch, names={"7": "sea/lake.jpg"})
    assert told[0] == "batch: image of sea/lake.jpg in 1 values"
    assert told[1].startswith("outputs: encoder.backbone is the first")
    assert "losses of micro-batch 0: far nan" in told[2]


def test_what_is_not_known_in_a_map_is_no_fault_of_it():
    batch = next(batches(1))
    batch["depth"] = torch.full((4, 1, 8, 8), math.nan)
    batch["image"][0, 0, 0, 0] = math.inf
    assert not any("depth" in line for line in look(toy(), batch))


def test_a_gradient_that_fails_alone_is_told_from_where_on():
    objective = toy()
    objective.head.weight.register_hook(lambda gradient: gradient * math.inf)
    told = look(objective, next(batches(1)), precision="fp32")
    assert told[-1] == "gradients: not finite from head.weight on, in 1"


def test_it_says_whether_full_precision_would_help():
    objective = toy()
    objective.head.weight.data *= 1e38
    told = look(objective, next(batches(1)), precision="bf16")
    assert told[-1] == "in fp32: not finite either"
