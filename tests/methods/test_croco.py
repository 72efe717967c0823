"""CroCo is the authors' CroCo, and its second version with rotary positions."""

from multiprocessing import get_context

import pytest
import torch

from conftest import batch_for, close, close_gradient, fixed, golden, official, tiny
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import patches_of_pixels
from sgmim.losses import painted_mse
from sgmim.masking import refine
from sgmim.methods.croco import CroCo

ENCODERS = {"croco": "croco_vit_tiny_patch16", "croco_rope": "rotary_vit_tiny_patch16"}
RENAMED = {
    "enc_blocks.": "encoder.backbone.blocks.",
    "enc_norm.": "encoder.backbone.norm.",
    "patch_embed.": "encoder.backbone.patch_embed.",
    "decoder_embed.": "decoder.enter.",
    "mask_token": "decoder.token",
    "dec_blocks.": "decoder.blocks.",
    "dec_norm.": "decoder.norm.",
    "prediction_head.": "head.",
    "cross_attn.proj": "cross_attn.",
    "cross_attn..": "cross_attn.proj.",
}


def ours(name):
    """The authors' name of a weight, as ours."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def authors_croco(case, **options):
    meta, io = golden(case)
    config = meta["config"]
    method = CroCo(
        make_encoder(
            ENCODERS[case],
            image_size=config["img_size"],
            options={
                "embed_dim": config["enc_embed_dim"],
                "depth": config["enc_depth"],
                "num_heads": config["enc_num_heads"],
            },
        ),
        mask_ratio=config["mask_ratio"],
        decoder_depth=config["dec_depth"],
        decoder_width=config["dec_embed_dim"],
        decoder_heads=config["dec_num_heads"],
        positions="rotary" if case == "croco_rope" else "sincos",
        **options,
    )
    state = {ours(n): t for n, t in official(case)["model"].items() if "pos_embed" not in n}
    state["decoder.token"] = state["decoder.token"].flatten()
    report = method.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) <= {"encoder.backbone.pos_embed"}
    hidden = io["mask"].bool().unflatten(1, method.encoder.grid)
    assert hidden[0].sum() == method.mask.count == config["num_mask"]
    return meta, io, fixed(method, hidden)


def batch_of(io):
    return {"image": io["view1"], "second": io["view2"]}


@pytest.mark.parametrize("case", ENCODERS)
def test_features_of_both_views_and_predictions_are_the_authors(case):
    _, io, method = authors_croco(case)
    visible, _ = method.mask.cells(method.mask(None))
    close(method.encoder.trunk_of(method.encoder.embed(io["view1"]), visible), io["feat1"])
    close(method.whole(io["view2"]), io["feat2"])
    features = method.features(io["view1"], io["view2"], visible)
    close(features, io["decoder_features"])
    close(method.head(features), io["prediction"])
    close(patches_of_pixels(io["view1"], 16), io["target"])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("case", ENCODERS)
def test_losses_and_gradients_are_the_authors(case, normalize):
    meta, io, method = authors_croco(case, normalize=normalize)
    kind = "norm_pix" if normalize else "raw_pix"
    loss = method(batch_of(io))["image"]
    torch.testing.assert_close(loss, io[f"{kind}.loss"].view(()), rtol=1e-5, atol=0)
    of_all = painted_mse(io["prediction"], io["target"], normalized=normalize)
    torch.testing.assert_close(of_all, io[f"{kind}.loss_all_patches"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    gradients = {name: p.grad for name, p in method.named_parameters()}
    for name, theirs in io.items():
        if name.startswith(f"{kind}.grad."):
            gradient = gradients[ours(name.removeprefix(f"{kind}.grad."))]
            close_gradient(gradient, theirs.view_as(gradient))
    for name, norm in meta[kind]["grad_norm_by_parameter"].items():
        if norm > 1e-6:  # that of a key's bias is rounding alone
            assert gradients[ours(name)].norm().item() == pytest.approx(norm, rel=1e-4)


LIGHT = {"decoder_depth": 2, "decoder_width": 32, "decoder_heads": 4}


def method_and_batch(encoder="vit", **options):
    torch.manual_seed(0)
    method = CroCo(tiny(encoder), **LIGHT | options)
    return method, batch_for(method)


@pytest.mark.parametrize(("encoder", "positions"), [("vit", "sincos"), ("rotary_vit", "rotary")])
def test_it_paints_from_what_is_visible_and_from_all_of_the_second_view(encoder, positions):
    method, batch = method_and_batch(encoder, positions=positions)
    image, second, noise = batch["image"], batch["second"], torch.randn_like(batch["image"])
    marked = method.mask(batch["key"])
    visible, _ = method.mask.cells(marked)
    assert visible.shape == (2, 3)  # 24 patches, of which int(0.9 * 24) = 21 are hidden
    pixels = refine(marked, 16)[:, None]
    painted = method.features(image, second, visible)
    assert torch.equal(painted, method.features(image.where(~pixels, noise), second, visible))
    for other in ((image.where(pixels, noise), second), (image, second.roll(1, 3))):
        assert not torch.allclose(painted, method.features(*other, visible))


def test_the_authors_hide_176_of_196_patches():
    encoder = make_encoder("croco_vit_tiny_patch16", image_size=224, options={"depth": 1})
    assert CroCo(encoder, **LIGHT).mask.count == 176


@pytest.mark.parametrize("channels", [1, 4])
def test_it_takes_views_of_any_channels(channels):
    method = CroCo(tiny("rotary_vit", channels=channels), **LIGHT)
    assert method(batch_for(method))["image"].isfinite()


@pytest.mark.slow
def test_it_is_one_graph_to_a_compiler():
    with get_context("spawn").Pool(1) as pool:  # a process in which shapes are not checked
        pool.apply(compile_alike)


def compile_alike():
    method, batch = method_and_batch("rotary_vit", positions="rotary")
    compiled = torch.compile(method, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch)["image"], method(batch)["image"])


def test_without_a_second_view_it_says_how_to_come_by_one():
    method, _ = method_and_batch()
    with pytest.raises(ConfigurationError, match=r"--data.pairs.* two crops of one photograph"):
        method.check({"image", "depth"})


@pytest.mark.parametrize("options", [{"decoder_heads": 5}, {"decoder_depth": 0}])
def test_a_decoder_that_is_none_is_refused(options):
    with pytest.raises(ConfigurationError, match="a decoder of"):
        CroCo(tiny("vit"), **LIGHT | options)


def test_an_encoder_that_needs_all_patches_is_refused():
    with pytest.raises(ConfigurationError, match="CroCo has the encoder see the visible patches"):
        CroCo(tiny("swin"), **LIGHT)
