"""The demo is made of commands that a user can give, and tells what came out of them."""

import json
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from sgmim import cli
from sgmim.commands import demo
from sgmim.options import find, named

EVERY = demo.ARMS | demo.CONTROLS | demo.KNOWLEDGE
RESULTS = {
    name: {
        "abs_rel": [0.3 + 0.01 * place, 0.32],
        "rmse": [1.0, 1.1],
        "delta1": [0.5, 0.5],
        "readout": [0.4, 0.4],
    }
    for place, name in enumerate(EVERY)
}


ODD = ("scratch", "sgmim", "other_depth", "depth_first", "depth_edges")  # the rest is slow


@pytest.mark.parametrize(
    "name", [each if each in ODD else pytest.param(each, marks=pytest.mark.slow) for each in EVERY]
)
def test_every_arm_is_commands_that_are_understood(name, capsys):
    for words in demo.Demo(Path("demo"), EVERY, readout=True).commands(name, 1).values():
        room = {"pretrain": "methods", "finetune": "tasks"}[words[0]]
        method, _ = named(words[1:], words[0], room)
        assert find(room, method)
        words = [word for word in words if not word.startswith("--init")]
        assert cli.main([*words, "--dry-run", "--data.scenes=8", "--training.steps=1"]) == 0
        assert "steps    1 of" in capsys.readouterr().out


def test_arms_differ_in_what_they_are_named_for():
    """Same steps, data and fine-tuning for both methods; only the last differs where it says so."""
    simmim, sgmim = (
        demo.Demo(Path("demo"), EVERY).commands(name, 0)["finetune"] for name in ("simmim", "sgmim")
    )
    assert [w.replace("simmim", "sgmim") for w in simmim] == sgmim


def test_the_page_has_every_arm_the_table_and_its_pictures(tmp_path):
    folder = tmp_path / "sgmim_0" / "pretrain" / "pictures"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(folder / "step_00000001.png")
    page = demo.drawn(demo.Demo(tmp_path, EVERY, seeds=2, readout=True), RESULTS)
    HTMLParser().feed(page)
    assert page.count("data:image/png;base64,") == 1
    assert all(f"<td>{escape(arm.label)}</td>" in page for arm in EVERY.values())
    assert "<td class=best>0.310 ± 0.014</td>" in page
    assert "http" not in page


@pytest.mark.slow
def test_the_demo_runs_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    words = ["demo", f"--folder={tmp_path}", "--steps=2", "--readout"]
    assert cli.main(words) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results.keys() == demo.ARMS.keys()
    for scores in results.values():
        assert scores.keys() == {"abs_rel", "rmse", "delta1", "readout"}
        assert all(len(values) == 1 for values in scores.values())
    assert (tmp_path / "index.html").stat().st_size > 100_000
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "sgmim pretrain" not in capsys.readouterr().out  # nothing was done twice
