"""The page of a run shows all that is in its folder, and needs nothing beside it."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from time import perf_counter

import pytest

from folders import rows, run_folder, start, write_log, write_starts
from sgmim.reports import report
from sgmim.reports.history import History
from shell import sgmim


class Read(HTMLParser):
    """Titles of figures, sources of pictures, names of elements, and the text."""

    def __init__(self, html):
        super().__init__()
        self.figures, self.sources, self.tags, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.figures += [value for name, value in attrs if name == "aria-label" and tag == "svg"]

    def handle_data(self, data):
        self.text += data


def page_of(folder):
    return report.of_run(History(folder).update())


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path / "run")


EVERY = ["loss", "image", "depth", "gradient norm", "learning rate", "throughput"]


def test_everything_in_the_log_has_a_curve(run):
    assert Read(page_of(run)).figures == [*EVERY, "waiting for data"]
    odd = [row | {"replaced": 2, "<skipped>": 1} for row in rows(50, start=40)]
    write_log(run, odd)
    figures = Read(page_of(run)).figures
    assert figures == [*EVERY, "waiting for data", "broken files replaced", "<skipped>"]


def test_a_part_that_is_the_whole_loss_is_drawn_once(tmp_path):
    plain = [{n: v for n, v in row.items() if n != "depth"} for row in rows(9)]
    write_log(tmp_path, plain)
    assert Read(page_of(tmp_path)).figures[:2] == ["loss", "gradient norm"]


def test_it_asks_for_nothing_outside_of_it(run):
    html = page_of(run)
    assert all(source.startswith("data:") for source in Read(html).sources)
    assert not re.search(r"https?://|@import|url\(", html)


def test_it_tells_how_the_run_stands(run):
    write_starts(run, start(), start(step=150), start(step=300, ended=1.8e9, reason="disk <full>"))
    said = Read(page_of(run)).text
    for words in (
        "stoppeddisk <full>",
        "step 400 of 1,000",
        "step 150, 300",
        "2.12.1",
        "cpu",
        "2.00 GiB",
    ):
        assert words in said
    assert "sgmim pretrain --recipe" in said and "lr: 0.001" in said
    assert page_of(run).count("<title>resumed at step") == 2 * len([*EVERY, "waiting for data"])


def test_of_many_sheets_the_first_the_last_and_some_between_are_shown_in_few_bytes(tmp_path):
    html = page_of(run_folder(tmp_path / "run", sheets=30))
    shown = [int(step) for step in re.findall(r"<figcaption>step (\d+)", html)]
    assert len(shown) == report.SHEETS and (shown[0], shown[-1]) == (1, 30)
    gaps = [after - before for before, after in pairwise(shown)]
    assert max(gaps) - min(gaps) <= 1
    assert len(html) < 3_000_000


def test_what_a_run_is_called_and_configured_cannot_add_to_the_page(tmp_path):
    run = run_folder(tmp_path / "<script>alert(1)<", pretrain="</code><img src=x onerror=y>")
    write_log(run, [row | {"\"'><b onclick=x>": 1.0} for row in rows(45, start=40)])
    read = Read(page_of(run))
    assert read.tags.count("script") == 1 and all(s.startswith("data:") for s in read.sources)
    assert "alert(1)" in read.text and "onerror=y" in read.text and "onclick=x" in read.figures[-1]


@pytest.mark.parametrize("missing", ["log.jsonl", "environment.json", "config.yaml", "pictures"])
def test_it_is_made_of_what_there_is(run, missing):
    path = run / missing
    path.rename(run / "elsewhere")
    assert "</html>" in page_of(run)


@pytest.mark.parametrize("lines", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_page_of_many_lines_is_small_and_written_again_fast(tmp_path, lines):
    run = run_folder(tmp_path / "run", lines=lines, sheets=0)
    history = History(run).update()
    report.of_run(history)
    write_log(run, rows(lines + 20, start=lines))
    began = perf_counter()
    html = report.of_run(history.update())
    assert perf_counter() - began < 2  # measured: 0.02 s after 100,000 lines, 0.12 after 1,000,000
    assert len(html) < 250_000


def test_the_command_makes_the_page_again_or_one_of_several(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sgmim("report", run) == 0
    assert (run / "report.html").read_text() == page_of(run)
    other = run_folder(tmp_path / "other")
    assert sgmim("report", run, other) == 0 and (tmp_path / "comparison.html").is_file()
    assert sgmim("report", run, other, "--out", tmp_path / "page.html") == 0
    said = capsys.readouterr().out.split()
    assert said == [str(run / "report.html"), "comparison.html", str(tmp_path / "page.html")]


def test_the_command_refuses_a_folder_that_holds_no_run(tmp_path, capsys):
    assert sgmim("report", tmp_path) == 74
    assert "holds no run" in capsys.readouterr().err
