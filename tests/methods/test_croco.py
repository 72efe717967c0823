"""CroCo is the authors' CroCo, and its second version with rotary positions."""

import pytest
import torch

from conftest import close, close_gradient, fixed, golden, official
from sgmim.encoders import make_encoder
from sgmim.layers import patches_of_pixels
from sgmim.losses import painted_mse
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
