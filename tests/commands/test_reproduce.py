"""'sgmim reproduce': plans, what is missing, and whole tables of two steps."""

import json

import pytest

from sgmim import cli
from shell import sgmim


def test_without_a_name_the_tables_are_listed(capsys):
    assert sgmim("reproduce") == 0
    told = capsys.readouterr().out
    assert all(f"table{number} " in told for number in range(1, 7)) and "guidance_tum" in told


def test_a_plan_has_every_command_what_it_costs_and_what_is_missing(capsys):
    assert sgmim("reproduce", "table2", "--scale=full", "--dry_run") == 0
    told = capsys.readouterr().out
    assert "sgmim pretrain --recipe=sgmim_swinv2_base_800ep" in told
    assert "# estimate: 130 hours on 8 RTX 6000 Ada" in told
    assert all(f"missing: --data.{name} FOLDER" in told for name in ("imagenet", "depth", "kitti"))


@pytest.mark.parametrize(
    "words, said, code",
    [
        (["table7"], "no table 'table7' (did you mean 'table", 2),
        (["guidance", "--scale=full"], "no scale of guidance 'full'; there is tiny", 2),
        (["guidance_tum"], "needs --data.frames FOLDER, frames of TUM RGB-D", 74),
        (["guidance_tum", "--data.frames=nowhere"], "needs --data.frames FOLDER", 74),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(capsys, words, said, code):
    assert sgmim("reproduce", *words) == code
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_is_made_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    words = ["reproduce", "table5", f"--folder={tmp_path}", "--steps=2", "--seeds=1"]
    assert cli.main(words) == 0
    made = json.loads((tmp_path / "table5_tiny.json").read_text())
    assert all(len(row["measured"]["rmse"]) == 1 for row in made["rows"].values())
    assert made["rows"]["mlp"]["measured"]["time"] == [1.0]
    assert made["rows"]["transformer"]["measured"]["memory"][0] > 1.1
    assert "<table" in (tmp_path / "table5_tiny.html").read_text()
    capsys.readouterr()
    assert cli.main([*words[:-1], "--seeds=1"]) == 0
    assert "sgmim pretrain" not in capsys.readouterr().out  # nothing was done twice
