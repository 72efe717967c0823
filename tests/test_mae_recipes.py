"""MAE's recipes are the authors' runs; that of visible-only SG-MIM is SG-MIM's where it can be."""

import re
import shlex

import pytest

from recipe_book import IMAGENET, ROOMS, built, first_lines, flat, loaded
from sgmim.optim import make_optimizer
from sgmim.options import recipes
from sgmim.plan import Plan
from sgmim.request import read
from sgmim.sources import make_source

MAE = ["mae_vit_base_1600ep", "mae_vit_base_800ep"]
VISIBLE = "sgmim_visible_vit_base_800ep"
WITHOUT = {  # of SG-MIM's options: what the visible patches leave no choice about
    "method.guidance_mask", "method.hidden_context",
    "method.target_window",
}  # fmt: skip


def test_both_lengths_are_there():
    assert sorted(name for name in recipes() if name.startswith("mae_")) == MAE


@pytest.mark.parametrize("name", MAE)
def test_a_recipe_of_mae_names_its_paper_and_scores(name):
    _, said = first_lines(name)
    assert "arXiv 2111.06377" in said["paper"]
    assert re.search(r"2\.26 m|83\.66 %", said["expect"])


@pytest.mark.parametrize("name", [*MAE, VISIBLE])
def test_its_command_is_one(name):
    words = shlex.split(first_lines(name)[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 8 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    method = built(config, "pretrain", what)
    assert set(config.data.maps or ()) == set(method.needs) - {"image"}
    assert make_source(**loaded(name)[1].data.as_dict()) is None  # no scenes made up


@pytest.mark.parametrize("name", MAE)
def test_mae_has_the_authors_sizes_and_no_more_to_learn(name):
    _, config = loaded(name)
    method = built(config, "pretrain", "mae")
    learnt = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert learnt == 111_655_680  # 111.9 M with the two tables of positions
    assert method.mask.squares - method.mask.count == 49
    groups = make_optimizer(method, lr=1.0, **config.optimizer.as_dict()).param_groups
    assert {group["betas"] for group in groups} == {(0.9, 0.95)}
    assert {group["weight_decay"] for group in groups} == {0.05, 0.0}


@pytest.mark.parametrize("name", MAE)
def test_mae_s_rates_are_those_of_the_paper_s_batch(name):
    plan = Plan(**loaded(name)[1].training.as_dict())
    epochs, epoch = int(re.search(r"(\d+)ep", name)[1]), IMAGENET // 4096
    schedule, steps = plan.schedule_for(IMAGENET), plan.length(IMAGENET)
    assert steps == epochs * epoch and plan.clip == 0
    assert schedule(0) == 0
    assert schedule(40 * epoch) == plan.rate == pytest.approx(2.4e-3)
    assert schedule((40 + epochs) * epoch // 2) == pytest.approx(1.2e-3)
    assert schedule(steps) == pytest.approx(0, abs=1e-9)


def test_mae_for_longer_is_the_same_run_for_longer():
    ours, theirs = map(flat, MAE)
    assert {key for key in ours if ours[key] != theirs[key]} == {"training.epochs"}


def test_visible_sgmim_is_trained_as_sgmim_is_for_vit():
    ours, theirs = flat(VISIBLE), flat("sgmim_vit_base_800ep")
    changed = {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}
    assert changed - {"pretrain"} == {"encoder.name"}
    assert theirs.keys() - ours.keys() == WITHOUT
    own = {key.partition(".")[2] for key in ours.keys() - theirs.keys()}
    assert own == {"encoder_positions", "decoder_depth", "decoder_width", "decoder_heads"}
