"""KAMIM is the authors' KAMIM, and SimMIM where its weights are all 1."""

from itertools import product
from math import inf

import pytest
import torch

from conftest import batch_for, close, close_gradient, fixed, golden, official, tiny
from sgmim.data.geometry import normalize
from sgmim.encoders import make_encoder
from sgmim.encoders.weights import load_into
from sgmim.errors import ConfigurationError
from sgmim.layers import PixelHead, patches
from sgmim.losses import painted_l1
from sgmim.masking import only
from sgmim.methods.kamim import KAMIM
from sgmim.methods.simmim import SimMIM
from sgmim.weighting import Weights


def vit(config):
    """The ViT of a golden case."""
    return make_encoder(
        "kamim_vit_tiny_patch16",
        image_size=config["image_size"],
        options={
            "embed_dim": config["hidden_size"],
            "depth": config["num_hidden_layers"],
            "num_heads": config["num_attention_heads"],
            "mlp_ratio": config["intermediate_size"] / config["hidden_size"],
        },
    )


def swin(config):
    """The Swin of a golden case."""
    return make_encoder(
        "swin_tiny_patch4_window7_224",
        image_size=config["image_size"],
        window=config["window_size"],
        options={name: config[name] for name in ("embed_dim", "depths", "num_heads")},
    )


def authors(case, make):
    """Their method with their weights, images and masks."""
    meta, io = golden(case)
    weights = official(case)["model_state_dict"]
    method = KAMIM(
        make(meta["config"]),
        weight_size=meta["config"]["w_ps"],
        temperature=meta["config"]["temperature"],
        raster="point",  # the map of the case has the rings already
    )
    report = load_into(method.encoder, official(case), at_least=1.0)
    assert not report.missing and not report.unexplained and "KAMIM" in report.source
    token = next(tensor for name, tensor in weights.items() if name.endswith("mask_token"))
    with torch.no_grad():
        method.token.copy_(token.flatten())
        method.head.weight.copy_(weights["decoder.0.weight"].flatten(1))
        method.head.bias.copy_(weights["decoder.0.bias"])
    image = normalize(io["images"].permute(0, 3, 1, 2), "imagenet")
    batch = {"image": image, "fast": io["keypoint_map"][:, None].float()}
    return meta, io, fixed(method, io["mask"].bool()), batch


@pytest.mark.parametrize("case, make", [("kamim_vit", vit), ("kamim_swin", swin)])
def test_pictures_losses_and_gradients_are_the_authors(case, make):
    meta, io, method, batch = authors(case, make)
    features = method.encoder(batch["image"], io["mask"].bool(), method.token)
    close(method.head.paint(features), io["reconstruction"])
    loss = method(batch)["image"]
    torch.testing.assert_close(loss, io["loss"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    theirs = {name: t for name, t in io.items() if name.startswith("grad.")}
    assert len(theirs) >= 5
    for name, gradient in theirs.items():
        ours = our_gradient(method, name.removeprefix("grad."), gradient)
        close_gradient(ours, gradient.view_as(ours))
    total = torch.stack([p.grad.norm() for p in method.parameters()]).norm()
    torch.testing.assert_close(total.item(), meta["grad_norm_total"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("case, make", [("kamim_vit", vit), ("kamim_swin", swin)])
def test_without_weights_its_loss_is_the_authors_simmim(case, make):
    _, io, method, batch = authors(case, make)
    method.weights = Weights(temperature=inf)
    loss = method(batch)["image"]
    torch.testing.assert_close(loss, io["loss_unweighted"].view(()), rtol=1e-5, atol=0)


def our_gradient(method, name, theirs):
    """The gradient of what the authors call so; of one of query, key and value, its third."""
    if name == "decoder.0.bias":
        return method.head.bias.grad
    if name.endswith("mask_token"):
        return method.token.grad
    if name.endswith("patch_embeddings.projection.weight"):
        return method.encoder.backbone.patch_embed.proj.weight.grad
    words = name.split(".")
    if words[2] == "layer":
        block = method.encoder.backbone.blocks[int(words[3])]
    else:
        block = method.encoder.backbone.layers[int(words[3])].blocks[int(words[5])]
    if words[-1] == "relative_position_bias_table":
        return block.attn.relative_position_bias_table.grad
    place = ("query", "key", "value").index(words[-2])
    return getattr(block.attn.qkv, words[-1]).grad.chunk(3)[place]


def identity(stride):
    """A head that paints what it is given."""
    head = PixelHead(3 * stride**2, stride)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3 * stride**2))
        head.bias.zero_()
    return head


@pytest.mark.parametrize("place, mask", [(0, "mask_vit"), (1, "mask_swin")])
def test_its_loss_is_the_authors_for_every_detector_size_and_temperature(place, mask):
    meta, io = golden("kamim_loss")
    image = normalize(io["images"].permute(0, 3, 1, 2), "imagenet")
    hidden = io[mask].bool()
    head, painted = identity(16), patches(io["reconstruction"], 16)
    cells = torch.arange(144).expand(2, -1)

    def loss(weights):
        return painted_l1(head, painted, only(image, hidden), cells, weights)

    torch.testing.assert_close(loss(None), io["loss_simmim"][place], rtol=1e-5, atol=0)
    config = meta["config"]
    for i, j, k in product(range(3), range(3), range(4)):
        weights = Weights(
            of=config["detectors"][i],
            size=config["w_ps"][j],
            temperature=config["temperature"][k],
            raster="point",
        )
        drawn = io[f"{config['detectors'][i]}.map"][:, None].float()
        ours = loss(weights({"image": image, config["detectors"][i]: drawn}))
        torch.testing.assert_close(ours, io["loss_kamim"][i, j, k, place], rtol=1e-5, atol=0)


def alike(encoder, **options):
    """KAMIM and SimMIM with the same weights in the same places."""
    kamim, simmim = KAMIM(tiny(encoder), **options), SimMIM(tiny(encoder))
    simmim.load_state_dict(kamim.state_dict())
    return kamim, simmim


@pytest.mark.parametrize("encoder", ["vit", "simmim_vit", "swin", "swinv2"])
def test_at_an_infinite_temperature_it_is_simmim_to_the_bit(encoder):
    kamim, simmim = alike(encoder, temperature=inf)
    batch = batch_for(kamim)
    losses = [method(batch)["image"] for method in (kamim, simmim)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for (name, one), other in zip(kamim.named_parameters(), simmim.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


def test_an_image_without_keypoints_is_as_in_simmim():
    kamim, simmim = alike("vit")
    batch = batch_for(kamim) | {"fast": torch.zeros(2, 1, 64, 96)}
    assert torch.equal(kamim(batch)["image"], simmim(batch)["image"])


def test_simmim_with_its_weights_is_kamim():
    kamim = KAMIM(tiny("swin"), temperature=0.5, raster="point", weight_size=16)
    weights = Weights(temperature=0.5, raster="point", size=16)
    simmim = SimMIM(tiny("swin"), weights=weights)
    simmim.load_state_dict(kamim.state_dict())
    assert simmim.needs == kamim.needs == ("image", "fast")
    batch = batch_for(kamim)
    assert torch.equal(kamim(batch)["image"], simmim(batch)["image"])
    assert torch.equal(kamim.pictures(batch)["weights"], simmim.pictures(batch)["weights"])


def test_errors_of_its_heaviest_pixels_count_most():
    kamim = KAMIM(tiny("vit"))
    batch = batch_for(kamim)
    batch["image"].requires_grad_()
    hidden = kamim.mask(batch["key"])
    kamim(batch)["image"].backward()
    weights = kamim.weights(batch)
    asked = only(torch.ones(2, 1, 64, 96), hidden).isfinite()
    gradient = batch["image"].grad.abs().amax(dim=1, keepdim=True)
    torch.testing.assert_close(
        gradient[asked] / gradient[asked].amin(), weights[asked] / weights[asked].amin()
    )


def test_its_token_begins_at_zero_as_the_authors():
    assert not KAMIM(tiny("swin")).token.any()


def test_a_heavy_mean_weight_is_told_by_it_and_by_weighted_simmim():
    kamim = KAMIM(tiny("vit"))
    half = (torch.rand(2, 1, 64, 96) < 0.08).float() * (torch.arange(96) < 48)
    batch = batch_for(kamim) | {"fast": half}
    assert "mean weight" in kamim.warnings(batch)[0]
    assert SimMIM(tiny("vit"), weights=kamim.weights).warnings(batch) == kamim.warnings(batch)
    assert SimMIM(tiny("vit")).warnings(batch) == []


@pytest.mark.parametrize("make", [KAMIM, lambda e, weight_size: SimMIM(e, weights=Weights(size=7))])
def test_patches_that_do_not_tile_the_image_are_refused_at_once(make):
    with pytest.raises(ConfigurationError, match="the nearest size that does is 8"):
        make(tiny("vit"), weight_size=7)
