"""Every official layout: full-size key lists convert whole, and features are the authors'."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from conftest import case, close, close_gradient, golden, official
from sgmim.encoders import make_encoder
from sgmim.encoders.shapes import described
from sgmim.encoders.weights import convert, load_into
from sgmim.layers import take

BASE = "swin_base_patch4_window7_224"
FULL_SIZE = {  # model: source, encoder, image, window
    "simmim_swin_base_192_w6": ("SimMIM", BASE, 192, 6),
    "simmim_vit_base_224": ("SimMIM", "simmim_vit_base_patch16", 224, None),
    "simmim_finetune_swin_base_224_w7": ("SimMIM's fine-tuning", BASE, 224, 7),
    "sgmim_swin_base_192_w6": ("SG-MIM", BASE, 192, 6),
    "kamim_vit_base_192": ("KAMIM", "kamim_vit_base_patch16", 192, None),
    "kamim_swin_tiny_192": ("KAMIM", "swin_tiny_patch4_window7_224", 192, 6),
    "mae_vit_base": ("MAE", "mae_vit_base_patch16", 224, None),
    "multimae_base": ("MultiMAE", "multimae_vit_base_patch16", 224, None),
    "croco_base_cosine": ("CroCo", "croco_vit_base_patch16", 224, None),
    "croco_v2_base_rope": ("CroCo", "rotary_vit_base_patch16", 224, None),
    "mim_depth_swinv2_base_nyu": ("MIM-Depth-Estimation", "mimdepth_swinv2_base", 480, 30),
}


def listed_models():
    return json.loads((case("state_dict_keys") / "keys.json").read_text())


def of_meta(model):
    return {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in model["state_dict"].items()
    }


def test_every_model_of_the_list_is_tried():
    assert set(listed_models()) == set(FULL_SIZE)


@pytest.mark.parametrize("model", FULL_SIZE)
def test_full_size_checkpoints_convert_with_nothing_unexplained(model):
    listed = listed_models()[model]
    source, name, size, window = FULL_SIZE[model]
    state = of_meta(listed)
    keywords = described(convert({"model": state}), state, {})
    assert (keywords["name"], keywords["image_size"]) == (name, size)
    assert keywords.get("window", [None])[0] == window
    with torch.device("meta"):
        encoder = make_encoder(**keywords)
    report = load_into(encoder, {"model": state})
    assert source in report.source and report.share == 1
    assert not report.missing and not report.unexplained and not report.resized
    assert report.kept + len(report.dropped) == report.tensors == len(state)


def built(name, wrapped=None, **told):
    """The encoder that a case's weights describe, with them; nothing may be left over."""
    content = official(name) if wrapped is None else wrapped
    state = next((v for k, v in content.items() if isinstance(v, dict)), content)
    converted = convert(content)
    encoder = make_encoder(**described(converted, state, told)).eval()
    report = load_into(encoder, content)
    assert report.share == 1 and not report.missing and not report.resized
    return encoder, report


def kept(io, cells):
    return io["noise"].argsort(dim=1)[:, :cells]


def test_mae_s_visible_tokens_are_the_authors():
    _, io = golden("mae")
    encoder, _ = built("mae", heads=4)
    cells = kept(io, io["latent"].shape[1] - 1)
    tokens = encoder.placed(encoder.embed(io["imgs"]))
    rows = encoder.rows(cells)
    close(encoder.mix(take(tokens, rows), rows), io["latent"])


def test_mae_s_encoder_alone_is_told_from_others_by_its_fixed_positions():
    content = official("mae")["model"]
    parts = ("decoder", "mask_token")
    alone = {name: t for name, t in content.items() if not name.startswith(parts)}
    encoder, report = built("mae", {"model": alone}, heads=4)
    assert report.source == "MAE, encoder only"
    whole, _ = built("mae", heads=4)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder(image), whole(image))


@pytest.mark.parametrize("name", ["croco", "croco_rope"])
def test_croco_s_second_view_is_encoded_as_by_the_authors(name):
    meta, io = golden(name)
    config = meta["config"]
    encoder, _ = built(name, heads=config["enc_num_heads"], image_size=config["img_size"])
    close(encoder(io["view2"]).flatten(2).transpose(1, 2), io["feat2"])


def test_multimae_s_tokens_are_the_authors_after_every_block():
    _, io = golden("dpt_multimae_depth")
    encoder, _ = built("dpt_multimae_depth", heads=4)
    for block, tokens in enumerate(encoder.pyramid(io["rgb"], (0, 1, 2, 3))):
        # their global token comes last
        close(tokens.flatten(2).transpose(1, 2), io[f"tokens.{block}"][:, :-1])


def test_multimae_is_the_same_in_timm_s_names():
    encoder, _ = built("dpt_multimae_depth", heads=4)
    again, report = built("", encoder.backbone.state_dict(), heads=4)
    assert report.source == "MultiMAE, in timm's names"
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder(image), again(image))


def test_multimae_s_own_weights_come_in_whole():
    assert built("multimae", heads=4)[1].source == "MultiMAE"


def moco_head(weights, prefix, x):
    """Their linear layers, each before a batch norm with the statistics of the batch."""
    matrices = [n for n, t in weights.items() if n.startswith(prefix) and t.ndim == 2]
    for name in matrices:
        x = F.linear(x, weights[name])
        number = int(name.split(".")[-2])
        norm = [weights.get(f"{prefix}.{number + 1}.{kind}") for kind in ("weight", "bias")]
        x = F.batch_norm(x, None, None, *norm, training=True)
        x = F.relu(x) if name != matrices[-1] else x
    return x


def contrast(q, k, temperature):
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(q))) * 2 * temperature


def test_moco_s_loss_and_gradients_are_the_authors_on_both_its_encoders():
    meta, io = golden("moco_v3")
    config, weights = meta["config"], official("moco_v3")["state_dict"]
    encoder, report = built("moco_v3", heads=4)
    assert report.source == "MoCo v3" and "momentum encoder" in str(report)
    base, momentum = "module.base_encoder.", "module.momentum_encoder."
    moved = {
        name: torch.lerp(tensor, weights[name.replace(base, momentum)], config["momentum"])
        if name.startswith(base) and tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }
    teacher, _ = built("moco_v3", {"state_dict": moved}, heads=4)
    q, k = [], []
    for view in (io["x1"], io["x2"]):
        x = moco_head(weights, f"{base}head", encoder.summary(view))
        q.append(moco_head(weights, "module.predictor", x))
        k.append(moco_head(moved, f"{base}head", teacher.summary(view)).detach())
    loss = contrast(q[0], k[1], config["T"]) + contrast(q[1], k[0], config["T"])
    assert loss.item() == pytest.approx(meta["loss"], rel=1e-5)
    loss.backward()
    for name in ("blocks.0.attn.qkv.weight", "cls_token"):
        ours = dict(encoder.backbone.named_parameters())[name].grad
        close_gradient(ours, io[f"grad.base_encoder.{name}"])


@pytest.mark.parametrize("name", ["finetune_swin", "finetune_vit"])
def test_what_simmim_has_fine_tuned_has_the_authors_features(name):
    """A norm after pooling is one of an encoder before it: only there the two differ."""
    meta, io = golden(name)
    weights = load_file(case(name) / "weights.safetensors")
    encoder, _ = built(name, weights)
    if name == "finetune_swin":
        features = encoder(io["image"]).mean(dim=(2, 3))
    else:
        pooled = encoder.pyramid(io["image"], (meta["config"]["depth"] - 1,))[0].mean(dim=(2, 3))
        features = encoder.backbone.norm(pooled)
    scale = io["features"].abs().max().item()
    torch.testing.assert_close(features, io["features"], rtol=1e-4, atol=2e-5 * scale)
