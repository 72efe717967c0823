import pytest

from shell import sgmim


def test_everything_there_is_has_a_line_of_its_own(capsys):
    assert sgmim("list") == 0
    said = capsys.readouterr().out
    for name in ("simmim", "sgmim", "edges", "depth", "demo_sgmim"):
        lines = [line for line in said.splitlines() if line.split()[0] == name]
        assert lines and all(len(line.split()) > 2 for line in lines)


def test_encoders_are_listed_by_pattern(capsys):
    assert sgmim("list", "encoders", "swinv2_base*") == 0
    first, *names = capsys.readouterr().out.split()
    assert first == "encoders:" and "swinv2_base_window12_192" in names
    assert all(name.startswith("swinv2_base") for name in names)


@pytest.mark.parametrize("words", [("encodrs",), ("methods", "x", "y")])
def test_a_mistaken_list_is_refused(capsys, words):
    assert sgmim("list", *words) == 2


def test_help_says_how_to_ask(capsys):
    assert sgmim("list", "--help") == 0
    assert "sgmim list [methods|encoders" in capsys.readouterr().out
