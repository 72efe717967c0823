"""MoCo v3 is the authors' MoCo v3."""

import pytest
import torch
from torch.testing import assert_close

from conftest import batch_for, close, close_gradient, golden, official, tiny
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.methods.mocov3 import MoCoV3
from sgmim.objective import Moment
from toys import trained

SMALL = {"hidden": 32, "dim": 16}
GOOD = torch.tensor(True)


def authors_mocov3():
    meta, io = golden("moco_v3")
    config, vit = meta["config"], meta["config"]["vit"]
    shape = {name: vit[name] for name in ("patch_size", "embed_dim", "depth", "num_heads")}
    encoder = make_encoder("mocov3_vit_small_patch16", image_size=vit["img_size"], options=shape)
    method = MoCoV3(
        encoder,
        temperature=config["T"],
        momentum=config["momentum"],
        hidden=config["mlp_dim"],
        dim=config["dim"],
    )
    theirs = official("moco_v3")["state_dict"]
    method.load_state_dict({name: theirs[authors(name)] for name in method.state_dict()})
    return io, method


def authors(name):
    """What the authors call a weight of ours."""
    for ours, theirs in (
        ("key_encoder.backbone", "momentum_encoder"), ("encoder.backbone", "base_encoder"),
        ("key_projector", "momentum_encoder.head"), ("projector", "base_encoder.head"),
    ):  # fmt: skip
        if name.startswith(ours):
            return f"module.{theirs}{name.removeprefix(ours)}"
    return f"module.{name}"


def test_the_loss_of_queries_and_keys_is_the_authors():
    io, method = authors_mocov3()
    queries = io["q"].requires_grad_()
    loss = method.contrast(queries, io["k"])
    assert_close(loss, io["contrastive_loss"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    close_gradient(queries.grad, io["grad_q"])


def test_loss_and_gradients_of_the_whole_model_are_the_authors():
    io, method = authors_mocov3()
    close(method.encoder.backbone.pos_embed, io["pos_embed"])
    method.begin(Moment(step=-1, steps=10**9, epoch=0.0))  # with the momentum it begins with
    method.follow(GOOD)
    moved = method.key_projector[0].weight
    assert_close(moved, io["momentum_encoder.head.0.weight.after"], rtol=0, atol=1e-6)
    loss = method({"image": io["x1"], "view": io["x2"]})["contrast"]
    assert_close(loss, io["loss"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    ours = {authors(name): p.grad for name, p in method.named_parameters() if p.requires_grad}
    for name, theirs in io.items():
        if name.startswith("grad."):
            close_gradient(ours[f"module.{name.removeprefix('grad.')}"], theirs)
    meta = golden("moco_v3")[0]
    total = torch.stack([gradient.norm() for gradient in ours.values()]).norm().item()
    assert total == pytest.approx(meta["grad_norm_total"], rel=1e-4)


def test_the_momentum_rises_as_the_authors():
    """In every step they move the keys' encoder by the momentum of that step: ours of the next."""
    io, method = authors_mocov3()
    schedule = io["momentum_schedule"].tolist()
    for step in range(len(schedule) - 1):
        method.begin(Moment(step, len(schedule), 0.0))
        assert 1 - method.pace.item() == pytest.approx(schedule[step + 1], abs=1e-6)


def test_it_learns_to_tell_images_apart():
    torch.manual_seed(0)
    method = MoCoV3(tiny("vit"), **SMALL)
    losses = trained(method, batch_for(method, size=8), steps=6, lr=1e-3)
    assert losses[-1] < losses[0]
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_patches_and_positions_stay_as_they_are_unless_told():
    method = MoCoV3(tiny("vit"), **SMALL)
    fixed = {name for name, p in method.encoder.named_parameters() if not p.requires_grad}
    stem = "backbone.patch_embed.proj"
    assert fixed == {"backbone.pos_embed", f"{stem}.weight", f"{stem}.bias"}
    free = MoCoV3(tiny("vit"), freeze_patches=False, fix_positions=False, **SMALL)
    assert all(p.requires_grad for p in free.encoder.parameters())


def test_a_crop_is_its_own_best_key():
    """The loss of cosines that are 1 for the own key and 0 for all others."""
    method = MoCoV3(tiny("vit"), **SMALL)
    own = torch.eye(4, 16)
    best = 0.4 * torch.log(1 + 3 * torch.exp(torch.tensor(-5.0)))
    assert_close(method.contrast(own, own), best)
    assert method.contrast(own, own.roll(1, 0)) > 10 * best


def test_cosines_are_compared_in_full_precision():
    method, (queries, keys) = MoCoV3(tiny("vit"), **SMALL), torch.randn(2, 4, 16)
    whole = method.contrast(queries, keys)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.contrast(queries, keys), whole)


def test_one_image_has_nothing_to_be_told_from():
    method = MoCoV3(tiny("vit"), **SMALL)
    with pytest.raises(ConfigurationError, match="2 or more at once"):
        method(batch_for(method, size=1))


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"momentum": 1.5}, {"dim": 0}])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="temperature above 0"):
        MoCoV3(tiny("vit"), **wrong)
