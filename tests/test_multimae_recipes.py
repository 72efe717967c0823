"""MultiMAE's recipes are its paper's run, and a quarter of it."""

import shlex

import pytest

from recipe_book import IMAGENET, ROOMS, built, first_lines, flat, loaded
from sgmim.optim import make_optimizer
from sgmim.options import recipes
from sgmim.plan import Plan
from sgmim.request import read

EPOCHS = (400, 1600)
EPOCH = IMAGENET // 2048


def name(epochs):
    return f"multimae_vit_base_{epochs}ep"


@pytest.mark.parametrize("epochs", EPOCHS)
def test_its_command_is_one_and_its_encoder_the_paper_s(epochs):
    words = shlex.split(first_lines(name(epochs))[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 8 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    method = built(config, "pretrain", what)
    assert what == "multimae" and method.needs == ("image", "depth", "classes")
    assert set(config.data.maps) == {"depth", "classes"}
    assert (method.mask.visible, method.mask.maps * method.mask.cells) == (98, 588)
    assert set(method.outputs) == {"image", "depth", "classes", "normalized_image"}
    assert type(method.encoder.backbone.norm).__name__ == "Identity"
    assert make_optimizer(method, lr=1.0, **config.optimizer.as_dict()).defaults["betas"] == (
        0.9,
        0.95,
    )


@pytest.mark.parametrize("epochs", EPOCHS)
def test_its_rate_rises_for_40_epochs_and_falls_to_0(epochs):
    plan = Plan(**loaded(name(epochs))[1].training.as_dict())
    schedule, steps = plan.schedule_for(IMAGENET), plan.length(IMAGENET)
    assert steps == pytest.approx(epochs * EPOCH, rel=1e-3)
    assert schedule(0) == pytest.approx(1e-6)
    assert schedule(40 * EPOCH + epochs // 40) == pytest.approx(8e-4, rel=1e-3)
    assert schedule(steps) == pytest.approx(0, abs=1e-12)


def test_the_two_differ_in_their_length_alone():
    ours, longer = flat(name(400)), flat(name(1600))
    assert {key for key in ours if ours[key] != longer[key]} == {"training.epochs"}


def test_the_demo_s_is_trained_as_sgmim_is():
    assert "demo_multimae" in recipes()
    ours, theirs = flat("demo_multimae"), flat("demo_sgmim")
    shared = {key for key in theirs if not key.startswith(("method", "pretrain"))}
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    _, config = loaded("demo_multimae")
    mask = built(config, "pretrain", "multimae").mask
    assert (mask.visible, mask.maps * mask.cells) == (21, 128)
