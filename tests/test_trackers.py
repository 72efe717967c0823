"""Trackers are told what the log says, once, and none of them can stop a run."""

import json
import sys
import tomllib
from pathlib import Path
from time import sleep, time
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from sgmim import trackers
from sgmim.errors import ConfigurationError
from sgmim.trackers import TRACKERS, check, open_tracker
from shell import SCENES, TINY, log, sgmim

RUN = ("pretrain", "simmim", *TINY, *SCENES, "--training.pictures_every=2")


@pytest.fixture
def stand_in(monkeypatch):
    """A package of our own under the name of another, that writes down what it is told."""
    spoken = SimpleNamespace(rows=[], starts=[], ends=0)

    def init(**options):
        def forget(**_):
            spoken.ends += 1

        spoken.starts.append(options)
        return SimpleNamespace(log=lambda row, step: spoken.rows.append((step, row)), finish=forget)

    module = ModuleType("wandb")
    module.init, module.Image, module.spoken = init, lambda path: path, spoken
    module.__spec__ = SimpleNamespace(origin="here")
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_a_tracker_is_told_every_line_of_the_log_and_shown_every_sheet(tmp_path, stand_in):
    assert sgmim(*RUN, f"--run={tmp_path / 'run'}", "--track", "wandb") == 0
    spoken = stand_in.spoken
    told = [{"step": step, "time": None} | row for step, row in spoken.rows if "loss" in row]
    assert told == [row | {"time": None} for row in log(tmp_path / "run")]
    assert [step for step, row in spoken.rows if "pictures" in row] == [2, 4]
    assert spoken.starts[0]["config"]["training"]["steps"] == 4 and spoken.ends == 1


def test_a_run_that_goes_on_is_the_same_run_to_its_tracker(tmp_path, stand_in):
    few = ("--training.save_every=1", "--track", "wandb")
    assert sgmim(*RUN, f"--run={tmp_path}", *few) == 0
    (tmp_path / "checkpoints" / "step_00000004.pt").unlink()
    assert sgmim(*RUN, f"--run={tmp_path}", *few) == 0
    first, second = stand_in.spoken.starts
    assert first["id"] == second["id"] and first["resume"] == "allow"
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": first["id"]}


@pytest.mark.parametrize("method", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_said_once_and_stops_nothing(
    tmp_path, stand_in, monkeypatch, capsys, method
):
    def fail(*_, **__):
        raise ConnectionError("the server is gone")

    opened = stand_in.init()
    setattr(opened, method, fail)
    monkeypatch.setattr(stand_in, "init", fail if method == "init" else lambda **_: opened)
    assert sgmim(*RUN, f"--run={tmp_path}", "--track", "wandb") == 0
    assert capsys.readouterr().err.count("the server is gone") == 1
    assert len(log(tmp_path)) == 4


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_made(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert sgmim(*RUN, f"--run={tmp_path / 'run'}", "--track", "mlflow") == 2
    assert "pip install 'sgmim[mlflow]'" in capsys.readouterr().err
    assert sgmim(*RUN, f"--run={tmp_path / 'run'}", "--track", "tensorbord") == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_called_as_a_tracker_is_no_tracker(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()  # W&B leaves one where it was used
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigurationError, match="needs its package"):
        check(["wandb"])


def test_a_recipe_names_trackers_too_and_a_run_may_change_them(tmp_path, stand_in, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("pretrain: simmim\ntrack: [wandb]")
    words = (f"--recipe={recipe}", *RUN[2:], f"--run={tmp_path / 'run'}")
    assert sgmim("pretrain", *words, "--training.save_every=1") == 0
    assert len(stand_in.spoken.starts) == 1
    (tmp_path / "run" / "checkpoints" / "step_00000004.pt").unlink()
    assert sgmim(*RUN, f"--run={tmp_path / 'run'}") == 0
    assert "going on from" in capsys.readouterr().out and len(stand_in.spoken.starts) == 1


def told_twice(name, folder):
    """A tracker is told of steps 1 to 6 and a picture, in a run that was killed after 4 of them
    with 2 saved; returns what it calls the run each time."""
    (folder / "pictures").mkdir(parents=True)
    sheet = folder / "pictures" / "step_00000003.png"
    Image.new("RGB", (40, 30), "red").save(sheet)
    identities = []
    for start, last, told in ((0, 4, 0), (2, 6, 4)):
        tracker = open_tracker(name, folder, {"training": {"lr": 1e-3}}, start, told)
        identities.append(tracker.identity)
        for step in range(start + 1, last + 1):
            tracker.log(step, {"loss": 1.0 / step, "lr": 1e-3})
            if step == 3:
                tracker.picture(step, sheet)
        tracker.close("" if last == 6 else "killed")
    assert len(set(identities)) == 1
    return identities[0]


def test_tensorboard_has_every_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told_twice("tensorboard", tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = {event.step: event.value for event in found.Scalars("loss")}
    assert len(found.Scalars("loss")) == 6
    assert losses == pytest.approx({step: 1.0 / step for step in range(1, 7)})
    assert [image.step for image in found.Images("pictures")] == [3]


@pytest.mark.slow
def test_mlflow_has_every_step_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    identity = told_twice("mlflow", tmp_path / "run")
    client = mlflow.MlflowClient()
    history = client.get_metric_history(identity, "loss")
    assert {m.step: m.value for m in history} == {step: 1.0 / step for step in range(1, 7)}
    assert len(history) == 6
    run = client.get_run(identity)
    assert run.info.status == "FINISHED" and run.data.params["training.lr"] == "0.001"
    assert [file.path for file in client.list_artifacts(identity, "pictures")] == [
        "pictures/step_00000003.png"
    ]


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    identity = told_twice("wandb", tmp_path / "run")
    kept = list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(kept) == 2
    until = time() + 30  # a process of its own writes them
    while time() < until and not all(b"loss" in file.read_bytes() for file in kept):
        sleep(0.2)
    assert all(b"loss" in file.read_bytes() for file in kept)


@pytest.mark.slow
def test_trackio_has_every_step_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    identity = told_twice("trackio", tmp_path / "run")
    rows = SQLiteStorage.get_logs("sgmim", identity)
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    assert losses == [(step, 1.0 / step) for step in range(1, 7)]


def test_every_tracker_is_an_extra_of_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert TRACKERS.keys() <= project["optional-dependencies"].keys()
