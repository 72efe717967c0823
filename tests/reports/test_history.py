"""What a run's folder tells, however its process ended."""

import json
from time import time

import numpy as np
import pytest

from folders import BEGAN, rows, run_folder, start, write_log, write_starts
from sgmim.reports.history import History


def test_reading_a_log_as_it_grows_gives_what_reading_it_at_once_gives(tmp_path):
    growing = History(tmp_path)
    for first in range(0, 50, 7):
        write_log(tmp_path, rows(min(50, first + 7), start=first))
        growing.update()
    whole = History(tmp_path).update()
    assert len(growing) == len(whole) == 50
    for name in whole.columns:
        assert (growing[name] == whole[name]).all()
    assert whole["step"].tolist() == list(range(10, 510, 10))


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(tmp_path):
    write_log(tmp_path, rows(3))
    text = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(text[:-30])
    history = History(tmp_path).update()
    assert len(history) == 2
    (tmp_path / "log.jsonl").write_text(text)
    assert (
        len(history.update()) == 3
        and history["loss"][-1] == json.loads(text.splitlines()[2])["loss"]
    )


def test_lines_that_are_no_lines_are_passed_over(tmp_path):
    write_log(tmp_path, rows(2))
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('nonsense\n[1]\n{"loss": 1}\n{"step": "x"}\n\n')
    write_log(tmp_path, rows(4, start=2))
    assert History(tmp_path).update()["step"].tolist() == [10, 20, 30, 40]


def test_a_column_that_some_lines_lack_has_no_number_there(tmp_path):
    first, second = rows(2)
    del first["time"]
    write_log(tmp_path, [first, second | {"skipped": 1}, {"step": 30, "loss": 1.0}])
    history = History(tmp_path).update()
    assert np.isnan(history["time"]).tolist() == [True, False, True]
    assert np.isnan(history["skipped"]).tolist() == [True, False, True]
    assert np.isnan(history["nowhere"]).all() and len(history["nowhere"]) == 3


def test_the_losses_are_the_sum_and_its_parts(tmp_path):
    assert History(run_folder(tmp_path / "run")).update().losses == ["loss", "image", "depth"]
    one = [{"step": 1, "loss": 1.0, "image": 1.0, "grad_norm": 1.0, "lr": 1.0, "other": 3}]
    write_log(tmp_path / "one", one)
    assert History(tmp_path / "one").update().losses == ["loss", "image"]
    assert History(tmp_path / "one").update().quantities == ["loss", "grad_norm", "lr", "other"]
    assert History(tmp_path / "none").update().losses == []


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path / "run")


def at(monkeypatch, seconds):
    monkeypatch.setattr("sgmim.reports.history.time", lambda: BEGAN + seconds)


def test_a_run_is_running_while_it_writes_and_counts_as_stopped_after_a_silence(run, monkeypatch):
    at(monkeypatch, 100)
    status = History(run).update().status
    assert (status.word, status.step, status.total) == ("running", 400, 1000)
    assert status.left == pytest.approx(60)  # 10 steps a second
    at(monkeypatch, 400)
    assert History(run).update().status.word == "stopped"


def test_a_run_that_writes_rarely_is_not_taken_for_stopped(tmp_path, monkeypatch):
    write_log(tmp_path, [row | {"time": BEGAN + 600 * n} for n, row in enumerate(rows(5))])
    write_starts(tmp_path, start())
    at(monkeypatch, 5 * 600)
    assert History(tmp_path).update().status.word == "running"


def test_a_run_that_said_how_it_ended_is_believed(run):
    write_starts(run, start(), start(step=200, ended=BEGAN + 50, reason="interrupted"))
    status = History(run).update().status
    assert (status.word, status.reason, status.resumed) == ("stopped", "interrupted", [200])
    write_starts(run, start(), start(ended=BEGAN + 50, reason=""))
    assert History(run).update().status.word == "finished"


def test_a_run_of_before_there_were_environments_has_a_status(run, monkeypatch):
    at(monkeypatch, 1000)
    (run / "environment.json").unlink()
    (run / "config.yaml").write_text("training: {steps: 400}")
    assert History(run).update().status.word == "stopped"
    (run / "objective.safetensors").touch()
    status = History(run).update().status
    assert (status.word, status.step, status.total, status.began) == ("finished", 400, 400, None)


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "3", "\0\0"])
def test_spoilt_files_leave_what_can_be_told(run, spoilt):
    for name in ("environment.json", "config.yaml"):
        (run / name).write_text(spoilt)
    history = History(run).update()
    assert history.status.step == 400 and history.starts == [] and history.config == {}


def test_an_empty_folder_is_a_run_that_has_not_begun(tmp_path):
    assert History(tmp_path).update().status.word == "not begun"


def test_the_time_that_is_left_is_at_the_pace_of_this_start(tmp_path, monkeypatch):
    now = time()
    slow = [{"step": n, "time": now - 9000 + 100 * n} for n in range(1, 50)]
    fast = [{"step": 50 + n, "time": now - 50 + n} for n in range(50)]
    write_log(tmp_path, slow + fast)
    write_starts(tmp_path, start(), start(step=49) | {"time": now - 60})
    assert History(tmp_path).update().status.left == pytest.approx(1000 - 99, rel=1e-3)
