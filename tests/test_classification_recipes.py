"""The recipes of ImageNet: fine-tuning and probes as published."""

from functools import cache

import pytest

from conftest import golden
from recipe_book import IMAGENET, built, first_lines, loaded
from sgmim.data.augmentation import Augmentation
from sgmim.errors import ConfigurationError
from sgmim.inference import Inference
from sgmim.optim import make_optimizer
from sgmim.options import arguments, recipes
from sgmim.plan import Plan
from sgmim.sources import make_source
from test_optim import timms

NAMES = sorted(name for name in recipes() if name.startswith("imagenet_"))
SIMMIM = [name for name in NAMES if "simmim" in name]
PROBES = [name for name in NAMES if name.endswith("_probe")]


@cache
def task_of(name):
    """The task of a recipe, without weights."""
    return built(loaded(name)[1], "finetune", "classification")


@pytest.mark.parametrize("name", NAMES)
def test_its_first_lines_say_what_it_costs_and_what_to_expect(name):
    title, said = first_lines(name)
    assert "ImageNet" in title and said["cost"].startswith("estimate: ")
    assert "top-1" in said["expect"] or "no score is published" in said["expect"]
    assert said["paper"] and f"--recipe {name} " in said["command"]


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_built_and_everything_that_learns_has_a_rate(name):
    (what, config), task = loaded(name), task_of(name)
    assert what == "classification" and task.limits == {"label": 1000}
    assert task.frozen == (name in PROBES)
    spread = make_optimizer(task, lr=1.0, **config.optimizer.as_dict()).param_groups
    learning = [p for p in task.parameters() if p.requires_grad]
    assert sorted(id(p) for g in spread for p in g["params"]) == sorted(map(id, learning))
    if name in PROBES:
        assert {id(p) for p in learning} == {id(p) for p in task.head.parameters()}
    changed = arguments(Augmentation, config.batches.as_dict())
    fields = {key: changed[key] for key in ("crop", "policy", "erasing", "interpolation", "flip")}
    Augmentation(**fields).check(task.needs)
    assert Inference(**config.inference.as_dict()).share in (None, 0.875)


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_for_imagenet(name):
    for part, split in (("data", "train"), ("test", "val")):
        options = loaded(name)[1][part].as_dict()
        assert (options["dataset"], options["split"]) == ("imagenet", split)
        with pytest.raises(ConfigurationError, match="Give its folder as root"):
            make_source(**options)


@pytest.mark.parametrize("name", SIMMIM)
def test_simmim_is_fine_tuned_at_its_rates(name):
    config = loaded(name)[1]
    plan = Plan(**config.training.as_dict())
    schedule = plan.schedule_for(IMAGENET)
    assert plan.rate == pytest.approx(5e-3) and plan.length(IMAGENET) == 62_500
    assert schedule(62_499) == pytest.approx(1e-6, rel=0.1) and schedule(0) < 2e-6
    decay = {"100ep": 0.9, "800ep": 0.8, "vit_base_800ep": 0.65, "swinv2_base_800ep": 0.75}
    expected = next(decay[end] for end in sorted(decay, key=len, reverse=True) if end in name)
    assert config.optimizer.layer_decay == expected and config.encoder.drop_path == 0.1


def test_the_probe_of_mae_is_at_a_rate_of_6_4_by_lars():
    config = loaded("imagenet_mae_vit_base_probe")[1]
    plan = Plan(**config.training.as_dict())
    assert plan.rate == pytest.approx(6.4) and config.optimizer.name == "lars"
    assert plan.schedule_for(IMAGENET)(plan.length(IMAGENET) - 1) == pytest.approx(0, abs=1e-6)
    assert plan.micro_batch // 8 % 2 == 0


def test_mae_is_fine_tuned_down_to_its_least_rate():
    config = loaded("imagenet_mae_vit_base")[1]
    plan = Plan(**config.training.as_dict())
    schedule, steps = plan.schedule_for(IMAGENET), plan.length(IMAGENET)
    assert schedule(6255) == pytest.approx(2e-3, rel=1e-3)
    assert schedule(steps - 1) == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.parametrize("name", ["imagenet_kamim_vit_base", "imagenet_kamim_vit_base_probe"])
def test_kamim_reads_patch_tokens_and_probes_its_eighth_block_before_any_norm(name):
    task, probed = task_of(name), name in PROBES
    assert (task.layer, task.through_norm, task.pool) == (8 if probed else None, not probed, "mean")
    plan = Plan(**loaded(name)[1].training.as_dict())
    schedule, epoch = plan.schedule_for(IMAGENET), plan.epoch(IMAGENET)
    assert plan.rate == 5e-3 and schedule(round(100 * epoch)) == pytest.approx(2.5e-6)


@pytest.mark.parametrize(
    "run, name",
    [
        ("finetune_swin", "imagenet_simmim_swin_base_100ep"),
        ("finetune_vit", "imagenet_simmim_vit_base_800ep"),
        ("finetune_mae_vit", "imagenet_mae_vit_base"),
    ],
)
def test_every_parameter_learns_and_decays_as_in_the_authors_fine_tuning(run, name):
    theirs = golden("param_groups")[0]["groups"][run]["parameters"]
    config, task = loaded(name)[1], task_of(name)
    names = {id(parameter): as_theirs(name) for name, parameter in task.named_parameters()}
    groups = make_optimizer(task, lr=1.0, **config.optimizer.as_dict()).param_groups
    ours = {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    expected = {timms(name): (p["lr_scale"], p["weight_decay"]) for name, p in theirs.items()}
    assert ours.keys() == expected.keys()
    for name, found in ours.items():
        assert found == pytest.approx(expected[name], rel=1e-9), name


def as_theirs(name):
    """The name of a parameter of a task in timm and in the authors' models for fine-tuning."""
    inside = name.removeprefix("encoder.backbone.")
    return f"fc_{name}" if inside == name and name.startswith("norm.") else inside
