"""SimMIM is the authors' SimMIM."""

import pytest
import torch

from conftest import close, close_gradient, fixed, golden, official, swin, vit
from sgmim.encoders import make_encoder
from sgmim.encoders.weights import load_into
from sgmim.losses import in_surroundings
from sgmim.masking import refine
from sgmim.methods.simmim import SimMIM


def authors_simmim(case, make):
    meta, io = golden(case)
    weights = official(case)["model"]
    method = SimMIM(make(meta["config"]))
    report = load_into(method.encoder, weights, at_least=1.0)
    assert not report.missing and not report.unexplained
    with torch.no_grad():
        method.token.copy_(weights["encoder.mask_token"].flatten())
        method.head.weight.copy_(weights["decoder.0.weight"].flatten(1))
        method.head.bias.copy_(weights["decoder.0.bias"])
    return meta, io, fixed(method, io["mask"].bool())


@pytest.mark.parametrize("case, make", [("simmim_swin", swin), ("simmim_vit", vit)])
def test_features_losses_and_gradients_are_the_authors(case, make):
    meta, io, method = authors_simmim(case, make)
    hidden = io["mask"].bool()
    features = method.encoder(io["image"], hidden, method.token)
    close(features, io["z"])
    close(method.head.paint(features), io["x_rec"])
    loss = method({"image": io["image"]})["image"]
    torch.testing.assert_close(loss, io["loss"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    ours = {name: p.grad for name, p in method.encoder.backbone.named_parameters()}
    ours |= {"mask_token": method.token.grad}
    for name, theirs in io.items():
        if not name.startswith("grad."):
            continue
        name = name.removeprefix("grad.").removeprefix("encoder.")
        name = name.replace("layers.1.downsample", "layers.2.downsample")
        gradient = method.head.bias.grad if name == "decoder.0.bias" else ours[name]
        close_gradient(gradient, theirs.view_as(gradient))
    total = torch.stack([p.grad.norm() for p in method.parameters()]).norm()
    torch.testing.assert_close(total.item(), meta["grad_norm_total"], rtol=1e-4, atol=0)


def test_the_loss_is_the_paper_s_formula_on_any_grid():
    encoder = make_encoder("vit_tiny_patch16_224", image_size=(64, 96), options={"depth": 1})
    method, image = SimMIM(encoder, mask_size=16), torch.randn(2, 3, 64, 96)
    hidden = method.mask(torch.tensor([3, 4]))
    ours = fixed(method, hidden)({"image": image})["image"]
    painted = method.head.paint(encoder(image, hidden, method.token))
    mask = refine(hidden, 16)[:, None].float()
    theirs = ((image - painted).abs() * mask).sum() / (mask.sum() + 1e-5) / 3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_a_target_in_its_surroundings_is_painted_and_shown_in_colors_again():
    encoder = make_encoder("vit_tiny_patch16_224", image_size=(64, 96), options={"depth": 1})
    method, batch = SimMIM(encoder, target_window=31), {"image": torch.randn(2, 3, 64, 96)}
    hidden = method.mask(torch.tensor([3, 4]))
    method, wanted = fixed(method, hidden), in_surroundings(batch["image"], 31)
    painted = method.head.paint(encoder(batch["image"], hidden, method.token))
    mask = refine(hidden, 16)[:, None].float()
    theirs = ((wanted - painted).abs() * mask).sum() / mask.sum() / 3
    torch.testing.assert_close(method(batch)["image"], theirs)
    method.head.paint = lambda features: wanted  # one that has learnt all
    shown = method.pictures(batch)["image, painted"]
    torch.testing.assert_close(shown, batch["image"], rtol=1e-4, atol=1e-4)


def test_squares_finer_than_the_feature_map_are_painted_exactly():
    encoder = make_encoder("swin_tiny_patch4_window7_224", image_size=64, options={"embed_dim": 24})
    method, image = SimMIM(encoder, mask_size=8), torch.randn(2, 3, 64, 64)
    hidden = method.mask(torch.tensor([3, 4]))
    ours = fixed(method, hidden)({"image": image})["image"]
    painted = method.head.paint(encoder(image, hidden, method.token))
    mask = refine(hidden, 4)[:, None].float()
    theirs = ((image - painted).abs() * mask).sum() / mask.sum() / 3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
