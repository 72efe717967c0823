"""Runs that differ in their seeds alone are one arm, called by what tells it from others."""

import shutil
from pathlib import Path

import pytest

from folders import chains, run_folder, trained
from sgmim.reports import lineage
from sgmim.reports.arms import NOTHING, arms_of, names_of, unlike, varying
from sgmim.reports.history import History


def arms(*words):
    found = lineage.find([str(word) for word in words])
    return {arm.name: sorted(link.name for link in arm.links) for arm in arms_of(found.links)}


def told(*words):
    return lineage.find([str(word) for word in words]).wrong


def test_seeds_are_one_arm_with_the_runs_that_they_began_from(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3, 0.31], "sgmim": [0.2], "": [0.4, 0.4]})
    found = arms(*tuned)
    assert list(found) == ["simmim", "sgmim", NOTHING]
    assert found["simmim"] == ["pre_simmim_0", "pre_simmim_1", "tuned_simmim_0", "tuned_simmim_1"]
    assert arms(*tuned, tmp_path / "pre_sgmim_0", tuned[0]) == found


def test_arms_of_one_method_are_called_by_the_options_that_differ(tmp_path):
    runs = [
        trained(tmp_path / f"{ratio}_{seed}", "pretrain", "sgmim", seed=seed, method__ratio=ratio)
        for ratio in (0.5, 0.6)
        for seed in (0, 1)
    ]
    assert list(arms(*runs)) == ["ratio 0.5", "ratio 0.6"]
    runs.append(trained(tmp_path / "other", "pretrain", "simmim", method__ratio=0.5))
    assert list(arms(*runs)) == ["sgmim, ratio 0.5", "sgmim, ratio 0.6", "simmim"]


def test_of_one_pretraining_the_ways_of_fine_tuning_are_arms(tmp_path):
    before = trained(tmp_path / "pre", "pretrain", "sgmim")
    for head in ("dpt", "deconv"):
        trained(tmp_path / head, "finetune", "depth", init=before, head__name=head)
    assert list(arms(tmp_path / "dpt", tmp_path / "deconv")) == ["dpt", "deconv"]


def test_a_test_of_its_own_is_no_arm_of_its_own(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3], "sgmim": [0.3]})
    for method in ("simmim", "sgmim"):
        name, before = f"readout_{method}", tmp_path / f"pre_{method}_0"
        options = {"task__frozen": True, "head__name": "linear"}
        tuned.append(trained(tmp_path / name, "finetune", "depth", init=before, **options))
    assert {name: len(runs) for name, runs in arms(*tuned).items()} == {"simmim": 3, "sgmim": 3}


def test_one_that_is_fine_tuned_otherwise_than_most_says_so(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3, 0.3], "": [0.4, 0.4]})
    longer = trained(tmp_path / "longer", "finetune", "depth", training__steps=1200)
    assert list(arms(*tuned, longer)) == ["simmim", f"{NOTHING}", f"{NOTHING}, steps 1200"]


def test_a_name_given_to_a_run_is_that_of_its_chain(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3, 0.3], "sgmim": [0.2, 0.2]})
    named = [f"ours={tuned[2]}", f"ours={tuned[3]}"]
    assert list(arms(*tuned[:2], *named)) == ["simmim", "ours"]
    assert list(arms(f"plain={tmp_path / 'pre_simmim_0'}", tuned[0])) == ["plain"]


def test_a_folder_may_have_an_equals_sign(tmp_path):
    run = trained(tmp_path / "lr=1", "pretrain", "sgmim")
    assert lineage.named(str(run)) == ("", run)
    assert lineage.named(f"a={run}") == ("a", run)


def test_an_option_that_some_versions_lack_makes_no_arm(tmp_path):
    runs = [trained(tmp_path / f"{s}", "pretrain", "sgmim", seed=s, batches__new=0) for s in (0, 1)]
    text = (runs[0] / "config.yaml").read_text().replace("batches:\n  new: 0\n", "")
    (runs[0] / "config.yaml").write_text(text)
    assert len(arms(*runs)) == 1
    assert varying([{"a": 1}, {"a": 1, "b": 2}, {"c": [1]}, {"c": [2]}]) == ["c"]


def test_runs_that_were_moved_together_still_know_each_other(tmp_path):
    tuned = chains(tmp_path / "runs", {"sgmim": [0.2]})
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    moved = [tmp_path / "elsewhere" / Path(word).name for word in tuned]
    assert arms(*moved) == {"sgmim": ["pre_sgmim_0", "tuned_sgmim_0"]} and not told(*moved)


def test_pretrainings_that_are_gone_are_told_apart_by_their_names(tmp_path):
    tuned = chains(tmp_path, {"simmim": [0.3, 0.3], "sgmim": [0.2, 0.2]})
    for gone in tmp_path.glob("pre_*"):
        shutil.rmtree(gone)
    assert list(arms(*tuned)) == ["pre_simmim", "pre_sgmim"]
    assert len(told(*tuned)) == 4 and all("is gone" in line for line in told(*tuned))


def test_what_is_no_run_or_not_done_is_said_in_a_line(tmp_path):
    good = trained(tmp_path / "good", "pretrain", "sgmim")
    killed = run_folder(tmp_path / "killed")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.yaml").write_text("model: resnet50\n")
    wrong = told(good, killed, foreign, tmp_path, tmp_path / "nowhere")
    assert len(wrong) == 4 and all(line.count("\n") == 0 for line in wrong)
    for part in ("foreign/config.yaml is not", "holds no run", "nowhere is not there",
                 "at step 400 of 1,000"):  # fmt: skip
        assert sum(part in line for line in wrong) == 1


def test_a_run_that_says_it_began_from_itself_has_an_end(tmp_path):
    run = tmp_path / "run"
    trained(run, "pretrain", "sgmim", init=run)
    assert len(arms(run)) == 1


ROW = {
    "pretrain": "sgmim",
    "method.mask_ratio": 0.6,
    "method.guidance_mask": "complement",
    "method.knowledge_weight": 1.0,
}


def test_arms_in_folders_of_one_name_have_names_of_their_own():
    """Of what differs in more than a name can hold."""
    links = [lineage.Link(History(Path(f"{row}_0/run"))) for row in "ab"]
    told = unlike(["x" * 99, "x" * 99], [[link] for link in links])
    assert told == ["a_0/run", "b_0/run"]
    assert unlike(["x", "x"], [[link] for link in links]) == ["x (a_0/run)", "x (b_0/run)"]


@pytest.mark.parametrize(
    "signatures, names",
    [
        ([{"pretrain": "mae"}], ["mae"]),
        ([{"a": 1, "x.name": "u"}, {"a": 2, "x.name": "v"}], ["u", "v"]),
        ([{"m.a": 1, "b": True}, {"m.a": 1, "b": False}, {"m.a": 2}],
         ["a 1, b true", "a 1, b false", "a 2"]),
        # a table in which each row changes one thing: what is long to say from the top
        ([ROW, ROW | {"method.guidance_mask": "random"}, ROW | {"method.mask_ratio": 0.5},
          ROW | {"method.knowledge_weight": 0.1}, ROW | {"method.knowledge_weight": 0.0}],
         ["sgmim", "guidance_mask random", "mask_ratio 0.5", "knowledge_weight 0.1",
          "knowledge_weight 0"]),
    ],
)  # fmt: skip
def test_names_are_the_fewest_words_that_tell_arms_apart(signatures, names):
    assert names_of(signatures) == names
