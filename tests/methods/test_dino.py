"""DINO is the authors' DINO."""

import pytest
import torch
from torch.testing import assert_close

from conftest import batch_for, golden, official, tiny
from sgmim.errors import ConfigurationError
from sgmim.methods.dino import DINO, Head
from sgmim.objective import Moment

SMALL = {"prototypes": 32, "hidden": 32, "bottleneck": 16}
GOOD = torch.tensor(True)


def test_losses_centers_and_gradients_are_the_authors():
    meta, io = golden("dino")
    config = meta["config"]
    method = DINO(
        tiny("vit"), prototypes=config["K"], teacher_temperature=(0.04, 0.07), teacher_warmup=5
    )
    for place, epoch in enumerate((0, 2, 4, 5, 11)):
        said, times = io["student_logits"].clone().requires_grad_(), 1 + epoch / 10
        method.begin(Moment(epoch, 12, epoch + 0.5))
        taught = (io["teacher_logits"] * times).chunk(2)
        loss = method.compared((said * times).chunk(config["ncrops"]), taught)
        assert_close(loss, io["losses"][place], rtol=1e-5, atol=0)
        loss.backward()
        assert_close(said.grad.norm(), io["student_grad_norms"][place], rtol=1e-4, atol=0)
        assert_close(method.center, io["centers"][place], rtol=0, atol=1e-6)


def test_the_teacher_s_temperature_is_the_authors():
    schedule = golden("dino")[1]["teacher_temp_schedule"].tolist()
    method = DINO(tiny("vit"), teacher_temperature=(0.04, 0.07), teacher_warmup=5, **SMALL)
    for epoch, theirs in enumerate(schedule):
        for way in (0.0, 0.99):
            ours = method.at(Moment(epoch, 12, epoch + way))["sharpness"]
            assert ours == pytest.approx(theirs, rel=1e-12)


def test_the_head_is_the_authors():
    meta, io = golden("dino")
    config, theirs = meta["config"]["head"], official("dino")
    head = Head(config["in_dim"], config["hidden_dim"], config["bottleneck_dim"], 32)
    assert (theirs["last_layer.weight_g"] == 1).all()
    theirs = {f"mlp.{n}.{p}": theirs[f"mlp.{n}.{p}"] for n in (0, 2, 4) for p in ("weight", "bias")}
    theirs["prototypes.weight"] = official("dino")["last_layer.weight_v"]
    head.load_state_dict(theirs)
    for thawed in (None, torch.tensor(0.0), torch.tensor(1.0)):
        ours = head(io["head_input"], thawed)
        assert_close(ours, io["head_output"], rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_not_trained_in_the_first_epochs():
    method = DINO(tiny("vit"), freeze_last=2.0, **SMALL)
    last = method.student_head.prototypes.weight
    for epoch, moves in ((0.0, False), (1.99, False), (2.0, True)):
        method.begin(Moment(5, 100, epoch))
        method.zero_grad()
        sum(method(batch_for(method)).values()).backward()
        assert bool(last.grad.abs().sum() > 0) is moves


def test_the_teacher_is_handed_over_and_follows_the_student():
    method = DINO(tiny("vit"), **SMALL)
    pairs = list(zip(method.encoder.parameters(), method.student.parameters(), strict=True))
    with torch.no_grad():
        for _, own in pairs:
            own.add_(1.0)
    before = [copy.clone() for copy, _ in pairs]
    for step, share in ((0, 0.004), (50, 0.002), (100, 0.0)):
        method.begin(Moment(step, 100, 0.0))
        expected = [old.lerp(own, share) for old, (_, own) in zip(before, pairs, strict=True)]
        method.follow(GOOD)
        for (copy, _), wanted in zip(pairs, expected, strict=True):
            assert_close(copy, wanted, rtol=0, atol=1e-6)
        before = [copy.clone() for copy, _ in pairs]


def test_chance_is_the_student_s_alone():
    method = DINO(tiny("vit", drop_path=0.5), **SMALL)
    image = batch_for(method, size=16)["image"]
    assert torch.equal(method.encoder.summary(image), method.encoder.summary(image))
    assert not torch.equal(method.student.summary(image), method.student.summary(image))


def test_small_crops_are_seen_where_they_lie():
    """An encoder sees a smaller image as one whose positions were made for it, bicubically."""
    encoder = tiny("vit", image_size=(64, 96))
    small = tiny("vit", image_size=(32, 48))
    state = encoder.state_dict()
    table = state["backbone.pos_embed"]
    grid = table[:, 1:].transpose(1, 2).unflatten(2, encoder.grid)
    grid = torch.nn.functional.interpolate(grid, size=(2, 3), mode="bicubic").flatten(2)
    table = torch.cat([table[:, :1], grid.transpose(1, 2)], dim=1)
    small.load_state_dict(state | {"backbone.pos_embed": table})
    crop = torch.randn(2, 3, 32, 48)
    assert_close(encoder.summary(crop), small.summary(crop), rtol=1e-5, atol=1e-5)


def test_an_encoder_of_one_size_is_told_to_leave_parts_out():
    for encoder in ("swin", "simmim_vit"):
        with pytest.raises(ConfigurationError, match=r"method\.parts false"):
            DINO(tiny(encoder))
        method = DINO(tiny(encoder), parts=False, **SMALL)
        assert method(batch_for(method))["surprise"].isfinite()


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"momentum": 1.5}, {"prototypes": 0}, {"center_momentum": -1.0}]
)
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"temperatures above 0|momenta are"):
        DINO(tiny("vit"), **wrong)
