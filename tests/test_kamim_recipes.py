"""KAMIM's recipes are the rows of its README, at its rates; as shipped, at those of its code."""

import re
import shlex
from itertools import pairwise

import pytest

from recipe_book import IMAGENET, ROOMS, built, first_lines, flat, loaded
from sgmim.optim import make_optimizer
from sgmim.options import recipes
from sgmim.plan import Plan
from sgmim.request import read

CORRECTED = ("vit_tiny", "vit_small", "vit_base", "swin_tiny", "swin_base")
MILLIONS = dict(zip(CORRECTED, (5.5, 21.6, 85.8, 27.5, 86.7), strict=True))  # of its README
EPOCH = IMAGENET // 2048
KAMIM = sorted(name for name in recipes() if name.startswith("kamim_"))


def rates(name):
    plan = Plan(**loaded(name)[1].training.as_dict())
    return plan.length(IMAGENET), plan.schedule_for(IMAGENET)


def test_every_row_is_there_corrected_and_as_shipped():
    assert sorted(f"kamim_{row}{end}" for row in CORRECTED for end in ("", "_as_shipped")) == KAMIM


@pytest.mark.parametrize("name", KAMIM)
def test_a_recipe_says_paper_and_scores_with_the_control_s(name):
    title, said = first_lines(name)
    assert "README, row" in title and "arXiv 2407.13873" in said["paper"]
    assert len(re.findall(r"\d\d\.\d\d %", said["expect"])) == 4


@pytest.mark.parametrize("name", KAMIM)
def test_its_command_is_one_and_its_keypoints_are_found_in_the_crop(name):
    words = shlex.split(first_lines(name)[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 8 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    assert what == "kamim" and str(config.data.images) == "IMAGES"
    assert dict(config.data.live) == {"fast": "device"}


@pytest.mark.parametrize("row", CORRECTED)
def test_its_encoder_has_the_readme_s_parameters(row):
    _, config = loaded(f"kamim_{row}")
    method = built(config, "pretrain", "kamim")
    count = sum(parameter.numel() for parameter in method.encoder.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[row], abs=0.06)
    assert method.needs == ("image", "fast") and method.encoder.image_size == (192, 192)
    (group,) = make_optimizer(method, lr=1.0, **config.optimizer.as_dict()).param_groups
    assert group["weight_decay"] == 0.05 and len(group["params"]) == len(list(method.parameters()))


@pytest.mark.parametrize("row", CORRECTED)
def test_every_row_is_trained_alike(row):
    ours, base = flat(f"kamim_{row}"), flat("kamim_vit_base")
    changed = {key for key in ours if ours[key] != base[key]}
    assert changed <= {"encoder.name", "encoder.window"}


def test_the_rate_follows_one_cosine_of_100_epochs():
    steps, schedule = rates("kamim_vit_base")
    assert steps == pytest.approx(100 * EPOCH, abs=100)
    assert schedule(0) == pytest.approx(1e-6) and schedule(steps) == pytest.approx(1e-5)
    assert schedule(10 * EPOCH) == pytest.approx(8e-4, rel=0.03)
    falling = [schedule(step) for step in range(11 * EPOCH, steps, 100)]
    assert falling == sorted(falling, reverse=True)


def test_as_shipped_every_epoch_falls_back_and_the_last_ten_are_level():
    steps, schedule = rates("kamim_vit_base_as_shipped")
    assert steps == pytest.approx(110 * EPOCH, abs=100)
    followed = [schedule(step) for step in range(40 * EPOCH, 50 * EPOCH)]
    risen = [one > before for before, one in pairwise(followed)]
    assert sum(risen) == pytest.approx(10, abs=1)
    assert {schedule(step) for step in range(steps - 10 * EPOCH + 2, steps, 50)} == {1e-5}


@pytest.mark.parametrize("row", CORRECTED)
def test_as_shipped_only_the_rates_are_different(row):
    ours, shipped = flat(f"kamim_{row}"), flat(f"kamim_{row}_as_shipped")
    changed = {key: value for key, value in shipped.items() if ours.get(key) != value}
    assert changed == {
        "training.epochs": 110.0,
        "training.floor_epochs": 10.0,
        "training.schedule": "saw_tooth",
    }
