"""A run is told of as it goes on, and nothing that fails in the telling stops it."""

import json
from itertools import pairwise

import pytest
import torch

from sgmim.reports import live, report
from sgmim.reports.history import History
from shell import SCENES, TINY, log, sgmim

RUN = ("pretrain", "sgmim", *TINY, *SCENES, "--training.pictures_every=2")


def starts(run):
    return json.loads((run / "environment.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = tmp_path_factory.mktemp("done") / "run"
    assert sgmim(*RUN, f"--run={run}") == 0
    return run


def test_a_finished_run_has_a_report_of_all_that_it_did(done):
    page = (done / "report.html").read_text()
    assert "finished" in page and "step 4 of 4" in page
    assert page.count("<figure class=chart") == 7 and page.count("data:image/webp") == 1 + 2
    assert page == report.of_run(History(done).update())


def test_every_start_is_noted_with_what_it_ran_on(done):
    (start,) = starts(done)
    assert (start["step"], start["total"], start["processes"], start["reason"]) == (0, 4, 1, "")
    assert start["time"] <= log(done)[0]["time"] <= start["ended"]
    assert start["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert start["environment"]["device"] == "cpu"


def test_a_run_that_is_stopped_says_why_and_where_it_goes_on(tmp_path, monkeypatch):
    written = live.write_sheet

    def interrupted(path, *rest):
        if path.stem == "step_00000004":
            raise KeyboardInterrupt
        return written(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("sgmim.runs.write_sheet", interrupted)
        assert sgmim(*RUN, f"--run={tmp_path}", "--training.save_every=3") == 130
    status = History(tmp_path).update().status
    assert (status.word, status.reason, status.step) == ("stopped", "interrupted", 4)
    assert "interrupted" in (tmp_path / "report.html").read_text()
    assert sgmim(*RUN, f"--run={tmp_path}", "--training.save_every=3") == 0
    status = History(tmp_path).update().status
    assert (status.word, status.step, status.resumed) == ("finished", 4, [3])
    assert "resumed at step 3" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "place",
    [
        "sgmim.reports.live.report.of_run",
        "sgmim.reports.live.write_text",
        "sgmim.reports.live.environment",
        "sgmim.reports.live.Live.preview",
        "sgmim.reports.live.History.update",
    ],
)
def test_a_report_that_fails_is_said_once_and_stops_nothing(tmp_path, monkeypatch, capsys, place):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live, "EVERY", 0.0)
    if place.endswith("preview"):
        place = "sgmim.reports.live.write_sheet"
    monkeypatch.setattr(place, fail)
    assert sgmim(*RUN, f"--run={tmp_path}") == 0
    assert len(log(tmp_path)) == 4
    assert capsys.readouterr().err.count("No space left") == 1


def test_reports_are_written_now_and_then_and_take_a_hundredth_of_the_time(tmp_path, monkeypatch):
    seconds, written = [0.0], []
    monkeypatch.setattr(live, "perf_counter", lambda: seconds[0])

    def write(path, text):
        written.append(seconds[0])
        seconds[0] += 0.5  # a slow disk

    monkeypatch.setattr(live, "write_text", write)
    telling = live.Live(tmp_path)
    for step in range(400):
        seconds[0] += 1.0
        telling.row(step, {"step": step})
    gaps = [after - before for before, after in pairwise(written)]
    assert written[0] == 1.0 and len(written) > 5 and min(gaps) >= 50
    telling.end("")
    assert len(written) > len(gaps) + 1


def test_only_the_main_process_tells(tmp_path, monkeypatch):
    monkeypatch.setattr("sgmim.distributed.is_main", lambda: False)
    with live.told(tmp_path, 0, 4, torch.device("cpu"), ("wandb",), {}) as telling:
        assert telling.row(1, {"step": 1}) == {"step": 1}
        telling.picture(1, tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []
