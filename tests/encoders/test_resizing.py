"""Weights of one size in an encoder of another: what the authors' fine-tuning starts from."""

import pytest
import torch
from timm.models.beit import Beit
from torch.nn import functional as F
from torch.testing import assert_close

from conftest import case, close_gradient, golden, official, swin, tiny
from sgmim.encoders import wrap
from sgmim.encoders.resizing import positions, relative_biases, spline
from sgmim.encoders.weights import load_into
from sgmim.layers import sincos


def forward_close(ours, theirs):
    """The rule of finetune_*'s meta.json: what the authors' spline leaves."""
    assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("change", ["6to7", "6to12", "12to14", "7to6"])
def test_biases_of_swin_are_resized_as_by_simmim(change):
    _, io = golden("position_interpolation")
    side = int(change.partition("to")[2])
    theirs = io[f"swin.{change}.target"]
    ours = relative_biases(io[f"swin.{change}.source"], (side, side), count=len(theirs))
    assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("change", ["6to7", "4to6"])
def test_biases_of_a_vit_are_resized_as_by_simmim_and_those_of_its_class_token_are_kept(change):
    _, io = golden("position_interpolation")
    side = int(change.partition("to")[2])
    source, theirs = (io[f"vit.{change}.{kind}"] for kind in ("source", "target"))
    ours = relative_biases(source, (side, side), count=len(theirs))
    assert_close(ours, theirs, rtol=0, atol=2e-5)
    assert torch.equal(ours[-3:], source[-3:])


@pytest.mark.parametrize("change, side", [("4to6", 6), ("14to16", 16)])
def test_positions_are_resized_as_by_mae(change, side):
    _, io = golden("position_interpolation")
    ours = positions(io[f"mae_pos_embed.{change}.source"], (side, side), prefix=1)
    assert_close(ours, io[f"mae_pos_embed.{change}.target"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dim, side", [(16, 4), (24, 7)])
def test_fixed_positions_are_mae_s(dim, side):
    _, io = golden("position_interpolation")
    assert_close(sincos((side, side), dim), io[f"sincos.d{dim}.n{side}"][1:].float())


@pytest.mark.parametrize("count", [4, 5, 11])
def test_a_spline_goes_through_its_points_and_is_exact_for_cubics(count):
    torch.manual_seed(0)
    x = torch.rand(count, dtype=torch.float64).cumsum(0)
    wanted = torch.linspace(x[0].item(), x[-1].item(), 23, dtype=torch.float64)
    assert_close(spline(x, x), torch.eye(count, dtype=torch.float64))
    assert_close(spline(x, wanted) @ (x**3 - 2 * x), wanted**3 - 2 * wanted)


@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 5), (9, 4)])
@pytest.mark.parametrize("source", [1, 2, 3, 6])
def test_equal_biases_stay_equal_in_any_window(source, window):
    count = (2 * window[0] - 1) * (2 * window[1] - 1)
    table = torch.full(((2 * source - 1) ** 2, 2), 0.7)
    assert_close(relative_biases(table, window, count=count), torch.full((count, 2), 0.7))


def test_biases_of_no_square_window_are_refused():
    with pytest.raises(ValueError, match="15 biases are those of no square window"):
        relative_biases(torch.zeros(15, 1), (4, 4), count=49)


def test_a_window_that_is_no_square_is_resized_along_each_side():
    table = torch.randn(3 * 7, 2)  # of a window of 2 x 4
    ours = relative_biases(table, (2, 6), count=3 * 11, source=(2, 4)).unflatten(0, (3, 11))
    assert_close(ours[:, 5], table.unflatten(0, (3, 7))[:, 3])  # beside no other column
    there = relative_biases(table, (4, 2), count=21, source=(2, 4)).unflatten(0, (7, 3))
    turned = table.unflatten(0, (3, 7)).transpose(0, 1).flatten(0, 1)
    back = relative_biases(turned, (2, 4), count=21, source=(4, 2)).unflatten(0, (3, 7))
    assert_close(there, back.transpose(0, 1))


def parameter_of(encoder, name):
    """Where our encoder has what the authors' Swin or ViT calls so; None for their head."""
    return dict(encoder.backbone.named_parameters()).get(name)


def check(encoder, logits, features, report, name):
    """The loaded tensors, the outputs and the gradients of a case are the authors'."""
    meta, io = golden(name)
    for tensor in (n.removeprefix("loaded.") for n in io if n.startswith("loaded.")):
        if (ours := parameter_of(encoder, tensor)) is not None:
            forward_close(ours.detach(), io[f"loaded.{tensor}"])
            assert tensor in report.loaded
    forward_close(features.detach(), io["features"])
    forward_close(logits.detach(), io["logits"])
    loss = F.cross_entropy(logits, io["label"])
    assert loss.item() == pytest.approx(meta["loss"], rel=1e-4)
    loss.backward()
    checked = 0
    for tensor in (n.removeprefix("grad.") for n in io if n.startswith("grad.")):
        if (ours := parameter_of(encoder, tensor)) is not None:
            close_gradient(ours.grad, io[f"grad.{tensor}"])
            checked += 1
    assert checked >= 2


def test_a_swin_is_fine_tuned_at_another_size_from_what_the_authors_start_from():
    meta, io = golden("finetune_swin")
    encoder = swin(meta["config"])
    report = load_into(encoder, torch.load(case("finetune_swin") / "checkpoint.pth"))
    assert not report.missing and not report.misshapen and report.resized
    features = encoder(io["image"]).mean(dim=(2, 3))
    logits = F.linear(features, io["loaded.head.weight"], io["start.head.bias"])
    check(encoder, logits, features, report, "finetune_swin")


def test_a_vit_is_fine_tuned_at_another_size_with_biases_for_every_block():
    meta, io = golden("finetune_vit")
    config = meta["config"]
    vit = Beit(
        img_size=config["img_size"],
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        init_values=config["init_values"],
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        global_pool="",
        num_classes=0,
    )
    encoder = wrap(vit, "beit_base_patch16_224", {})
    report = load_into(encoder, official("simmim_vit"))
    assert not report.missing and not report.misshapen and not report.unexplained
    assert len(report.resized) == config["depth"]
    patches = encoder.pyramid(io["image"])[-1].mean(dim=(2, 3))  # before the final norm
    norm = io["start.fc_norm.weight"], io["start.fc_norm.bias"]  # as they were before loading
    features = F.layer_norm(patches, patches.shape[1:], *norm, eps=1e-6)
    logits = F.linear(features, io["loaded.head.weight"], io["start.head.bias"])
    check(encoder, logits, features, report, "finetune_vit")


def test_a_bias_that_blocks_share_is_not_taken_apart_where_they_go_on_to_share_it():
    small, large = tiny("simmim_vit", (64, 64)), tiny("simmim_vit", (96, 96))
    report = load_into(large, small.backbone.state_dict())
    assert report.resized == ["rel_pos_bias.relative_position_bias_table"]
    assert report.share == 1 and not report.unexplained
