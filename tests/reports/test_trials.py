"""Arms are told apart by their differences over common seeds, as scipy tells them."""

import numpy as np
import pytest

from folders import chains, trained, write_scores
from sgmim.reports import lineage
from sgmim.reports.comparison import Comparison
from sgmim.reports.scoreboard import decimals, interval, signed, verdict
from sgmim.reports.trials import difference, is_better, rising

OURS = [0.302, 0.294, 0.289, 0.295, 0.301]
THEIRS = [0.311, 0.315, 0.310, 0.299, 0.312]


def compared(words, baseline=None):
    return Comparison(lineage.find([str(word) for word in words]), baseline)


def seeded(values, before=True):
    return {((seed,) if before else None, (seed,)): v for seed, v in enumerate(values)}


def test_a_difference_is_that_of_a_paired_t_test():
    """scipy 1.17.1: r = scipy.stats.ttest_rel(OURS, THEIRS); r.confidence_interval(0.95)."""
    found = difference(seeded(OURS), seeded(THEIRS))
    assert found.mean == pytest.approx(-0.0132, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((-0.0225908, -0.0038092), abs=1e-7)
    assert is_better("abs_rel", found) is True and is_better("delta1", found) is False
    assert is_better("abs_rel", difference(seeded(OURS), seeded(OURS[::-1]))) is None
    assert is_better("unheard of", found) is None


def test_only_seeds_that_both_have_are_compared():
    found = difference(seeded(OURS), seeded(THEIRS[:2]))
    assert found.count == 2 and found.mean == pytest.approx(np.mean([-0.009, -0.021]))
    assert difference(seeded(OURS[:1]), {((7,), (7,)): 0.3}) is None


def test_what_had_no_pretraining_is_compared_by_the_seeds_of_fine_tuning():
    assert difference(seeded(OURS), seeded(THEIRS, before=False)).count == 5
    tuned_alike = {((seed,), (0,)): value for seed, value in enumerate(OURS)}
    assert difference(tuned_alike, seeded(THEIRS, before=False)) is None
    assert difference(tuned_alike, tuned_alike).count == 5


def test_which_way_is_up_is_known_of_every_metric_of_every_task():
    assert rising()["miou"] and rising()["delta1"] and not rising()["abs_rel"]


def test_scores_of_different_protocols_are_never_in_one_column(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3, 0.3], "sgmim": [0.2, 0.2]})
    write_scores(tmp_path / "tuned_sgmim_1" / "scores.json", {"abs_rel": 0.1}, scaling="median")
    boards = compared(tuned).boards
    counts = [{arm: len(scores) for arm, scores in board.arms.items()} for board in boards]
    assert counts == [{"sgmim": 1, "simmim": 2}, {"sgmim": 1}]
    assert len({board.title for board in boards}) == 2 and "scaling median" in boards[1].title


def test_probes_are_trials_of_the_encoders_that_they_are_of(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3], "sgmim": [0.2]})
    for name in ("pre_simmim_0", "pre_sgmim_0", "tuned_sgmim_0"):
        write_scores(tmp_path / name / "probes" / "knn.json", {"top1": 0.5})
    titles = {board.title: sorted(board.arms) for board in compared(tuned).boards}
    assert titles["probe knn"] == ["sgmim", "simmim"]
    assert titles["probe knn, after fine-tuning for depth"] == ["sgmim"]


def test_the_best_is_the_one_that_is_told_apart_from_every_other(tmp_path):
    apart = {"sgmim": [0.20, 0.21, 0.22], "simmim": [0.30, 0.31, 0.32], "mae": [0.40, 0.41, 0.43]}
    board = compared(chains(tmp_path / "a", apart)).boards[0]
    assert (board.best("abs_rel"), board.best("delta1")) == ("sgmim", "sgmim")
    assert "told apart from every other" in verdict(board)
    near = {"sgmim": [0.20, 0.31, 0.22], "simmim": [0.30, 0.22, 0.32]}
    board = compared(chains(tmp_path / "b", near)).boards[0]
    assert board.best("abs_rel") is None and "told apart from no other arm" in verdict(board)
    single = {"sgmim": [0.2], "simmim": [0.3]}
    board = compared(chains(tmp_path / "c", single)).boards[0]
    assert board.best("abs_rel") is None and "says nothing of chance" in verdict(board)


def test_the_baseline_is_no_pretraining_or_the_first_or_the_one_asked_for(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3], "": [0.4], "sgmim": [0.2]})
    assert compared(tuned).base == "no pre-training"
    assert compared([tuned[0], tuned[2]]).base == "simmim"
    assert compared(tuned, "sgmim").boards[0].baseline == "sgmim"
    with pytest.raises(ValueError, match=r"no arm 'simim' \(did you mean 'simmim'\?\)"):
        _ = compared(tuned, "simim").base


def test_arms_stand_in_the_order_of_the_headline(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3], "": [0.4], "sgmim": [0.2]})
    lone = trained(tmp_path / "lone", "pretrain", "mae")
    names = [arm.name for arm in compared([lone, *tuned]).arms]
    assert names == ["sgmim", "simmim", "no pre-training", "mae"]


def test_a_number_is_told_as_exactly_as_its_spread_allows(tmp_path):
    board = compared(chains(tmp_path, {"sgmim": [0.20, 0.21, 0.22], "mae": [0.3] * 3})).boards[0]
    column = board.column("abs_rel")
    assert decimals(column) == 3
    assert interval(column["sgmim"], 3) == "0.185 to 0.235"
    assert signed(-0.01, 2) == "\N{MINUS SIGN}0.01" and signed(0.01, 2) == "+0.01"
    single = compared(chains(tmp_path / "one", {"sgmim": [0.20]})).boards[0].column("abs_rel")
    assert decimals(single) == 4 and interval(single["sgmim"], 3) == "one seed"
