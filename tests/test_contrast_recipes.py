"""MoCo v3's and DINO's recipes are the papers' runs."""

import shlex

import pytest

from recipe_book import IMAGENET, ROOMS, built, first_lines, loaded
from sgmim.data.batches import Batches
from sgmim.optim import make_optimizer
from sgmim.options import arguments
from sgmim.plan import Plan
from sgmim.request import read
from sgmim.sources import make_source

RUNS = {"mocov3_vit_base_300ep": "mocov3", "dino_vit_base_400ep": "dino"}


def plan_of(name):
    return Plan(**loaded(name)[1].training.as_dict())


@pytest.mark.parametrize("name", RUNS)
def test_its_command_is_one_and_takes_no_scenes(name):
    words = shlex.split(first_lines(name)[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 8 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    assert what == RUNS[name] and str(config.data.images) == "IMAGES"
    assert make_source(**loaded(name)[1].data.as_dict()) is None


@pytest.mark.parametrize("name", RUNS)
def test_what_it_trains_is_a_vit_b_and_its_head(name):
    what, config = loaded(name)
    method = built(config, "pretrain", what)
    assert sum(p.numel() for p in method.encoder.parameters()) / 1e6 == pytest.approx(85.8, abs=0.1)
    heads = {"mocov3": 23.09, "dino": 23.07}  # millions
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad) / 1e6
    fixed = 0.74 if what == "mocov3" else 0.0  # patches and positions
    assert trained == pytest.approx(85.8 + heads[what] - fixed, abs=0.1)
    views = arguments(Batches, config.batches.as_dict())["views"]
    colors = {"mocov3": "moco", "dino": "dino"}[what]
    assert config.batches.colors == f"{colors}_first" and views.colors == f"{colors}_second"
    assert what == "mocov3" or (views.parts, views.small) == (10, (96, 96))


def test_moco_v3_has_the_rate_and_the_weight_decay_of_the_paper():
    plan, (_, config) = plan_of("mocov3_vit_base_300ep"), loaded("mocov3_vit_base_300ep")
    schedule, epoch = plan.schedule_for(IMAGENET), IMAGENET // 4096
    assert plan.rate == pytest.approx(2.4e-3)
    assert schedule(0) == 0 and schedule(40 * epoch) == pytest.approx(2.4e-3, rel=1e-3)
    assert schedule(plan.length(IMAGENET)) == pytest.approx(0.0, abs=1e-9)
    (group,) = make_optimizer(
        built(config, "pretrain", "mocov3"), lr=1.0, **config.optimizer.as_dict()
    ).param_groups
    assert group["weight_decay"] == 0.1 and group["betas"] == (0.9, 0.999)


def test_dino_has_the_rate_and_the_weight_decay_of_the_released_weights():
    plan, (_, config) = plan_of("dino_vit_base_400ep"), loaded("dino_vit_base_400ep")
    schedule, steps = plan.schedule_for(IMAGENET), plan.length(IMAGENET)
    assert plan.rate == pytest.approx(3e-3) and schedule(steps) == pytest.approx(2e-6)
    decay = plan.weight_decay_for(0.04, IMAGENET)
    assert decay(0) == pytest.approx(0.04) and decay(steps) == pytest.approx(0.4)
    method = built(config, "pretrain", "dino")
    decayed = [g for g in make_optimizer(method, lr=1.0, **config.optimizer.as_dict()).param_groups
               if g["weight_decay"]]  # fmt: skip
    kept = {id(p) for p in decayed[0]["params"]}
    names = {name for name, p in method.named_parameters() if id(p) in kept}
    assert {"student.backbone.pos_embed", "student.backbone.cls_token"} < names
    assert not any(name.endswith("bias") for name in names)


@pytest.mark.parametrize("name", ["demo_mocov3", "demo_dino"])
def test_a_demo_differs_from_sg_mim_s_in_method_and_crops_alone(name):
    ours, theirs = loaded(name)[1], loaded("demo_sgmim")[1]
    assert ours.encoder == theirs.encoder and ours.data == theirs.data
    for option in ("steps", "batch", "lr", "lr_per", "warmup_epochs", "min_lr", "schedule"):
        assert ours.training[option] == theirs.training[option]
