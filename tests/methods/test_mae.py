"""MAE is the authors' MAE, on any grid."""

import pytest
import torch

from conftest import batch_for, close, close_gradient, fixed, golden, official, tiny
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import image_of_pixels, patches_of_pixels, spread, take, tokens
from sgmim.masking import refine
from sgmim.methods.mae import MAE
from toys import trained

AUTHORS = {  # theirs: ours
    "mask_token": "decoder.token",
    "decoder_embed.": "decoder.enter.",
    "decoder_blocks.": "decoder.blocks.",
    "decoder_norm.": "decoder.norm.",
    "decoder_pred.": "head.",
}


def ours(name):
    for theirs, own in AUTHORS.items():
        if name.startswith(theirs):
            return name.replace(theirs, own, 1)
    return f"encoder.backbone.{name}"


def authors_mae(**options):
    meta, io = golden("mae")
    config = meta["config"]
    shape = {name: config[name] for name in ("embed_dim", "depth", "num_heads")}
    encoder = make_encoder("mae_vit_base_patch16", image_size=config["img_size"], options=shape)
    sizes = {"width": "embed_dim", "depth": "depth", "heads": "num_heads"}
    sizes = {f"decoder_{size}": config[f"decoder_{name}"] for size, name in sizes.items()}
    method = MAE(encoder, **sizes, **options)
    weights = {ours(name): tensor for name, tensor in official("mae")["model"].items()}
    places = weights.pop(ours("decoder_pos_embed"))
    close(method.decoder.places, places[0, 1:])
    close(method.encoder.backbone.pos_embed, weights["encoder.backbone.pos_embed"])
    weights["decoder.token"] = weights["decoder.token"].flatten()
    method.load_state_dict(weights)
    hidden = io["mask"].bool().view(-1, *encoder.grid)
    assert torch.equal(hidden.flatten(1).sum(1), torch.full((2,), method.mask.count))
    return meta, io, fixed(method, hidden), hidden


def test_features_and_what_is_painted_are_the_authors():
    _, io, method, marked = authors_mae()
    seen, hidden = method.mask.cells(marked)
    known = method.encoder.tokens_of(method.encoder.embed(io["imgs"]), seen)
    shuffled = io["ids_restore"].gather(1, seen)  # where theirs has what we see
    close(known[:, :1], io["latent"][:, :1])
    close(known[:, 1:], take(io["latent"][:, 1:], shuffled))
    every = method.decoder.placed(known, seen, hidden)
    for block in method.decoder.blocks:
        every = block(every)
    every = method.head(method.decoder.norm(every))
    painted = tokens(spread(every[:, 1:], torch.cat([seen, hidden], dim=1), (4, 4)))
    close(painted, io["pred"])
    close(method.painted(io["imgs"], seen, hidden), take(io["pred"], hidden))
    close(image_of_pixels(painted, (4, 4), 16), io["unpatchified_pred"])


@pytest.mark.parametrize("kind, normalize", [("raw_pix", False), ("norm_pix", True)])
def test_losses_and_gradients_are_the_authors(kind, normalize):
    meta, io, method, _ = authors_mae(normalize=normalize)
    loss = method({"image": io["imgs"]})["image"]
    torch.testing.assert_close(loss, io[f"{kind}.loss"].view(()), rtol=1e-5, atol=0)
    loss.backward()
    gradients = {name: p.grad for name, p in method.named_parameters()}
    for name, theirs in io.items():
        if name.startswith(f"{kind}.grad."):
            gradient = gradients[ours(name.removeprefix(f"{kind}.grad."))]
            close_gradient(gradient, theirs.view_as(gradient))
    norms = meta[kind]["grad_norm_by_parameter"]
    assert {ours(name) for name in norms} == {n for n, g in gradients.items() if g is not None}
    for name, norm in norms.items():
        torch.testing.assert_close(gradients[ours(name)].norm().item(), norm, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["vit", "simmim_vit"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_that_of_the_pictures_it_shows(name, normalize):
    """On a grid that is not square, in the scale that is asked for."""
    torch.manual_seed(0)
    method = MAE(tiny(name), normalize=normalize, decoder_depth=1, decoder_width=32)
    batch = batch_for(method)
    pictures = method.pictures(batch)
    painted = pictures["image, painted to scale" if normalize else "image, painted"]
    where = refine(method.mask(batch["key"]), 16)[:, None].expand_as(painted)
    assert torch.equal(painted[~where], batch["image"][~where])
    error = patches_of_pixels(painted - batch["image"], 16)
    if normalize:
        error = error / patches_of_pixels(batch["image"], 16).std(dim=2, keepdim=True)
    hidden = method.mask(batch["key"]).flatten(1)
    loss = error.square().mean(dim=2)[hidden].mean()
    torch.testing.assert_close(method(batch)["image"], loss, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "name, channels, is_classed",
    [("mae_vit_tiny_patch16", 1, True), ("croco_vit_tiny_patch16", 5, False)],
)
def test_it_learns_with_and_without_class_token_from_images_of_any_channels(
    name, channels, is_classed
):
    torch.manual_seed(0)
    size = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    encoder = make_encoder(name, image_size=(64, 96), channels=channels, options=size)
    assert encoder.has_class_token == is_classed
    method = MAE(encoder, decoder_depth=1, decoder_width=32)
    losses = trained(method, batch_for(method), steps=6, lr=2e-3)
    assert losses[-1] < losses[0]
    unlearnt = {name for name, p in method.named_parameters() if p.grad is None}
    assert unlearnt == {"encoder.backbone.pos_embed"}


def test_positions_may_be_learnt():
    torch.manual_seed(0)
    encoder = tiny("vit")
    before = encoder.backbone.pos_embed.detach().clone()
    method = MAE(encoder, positions="learned", decoder_depth=1, decoder_width=32)
    assert torch.equal(encoder.backbone.pos_embed, before)
    sum(method(batch_for(method)).values()).backward()
    assert encoder.backbone.pos_embed.grad.count_nonzero() > 0


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("swin", {}, "MAE has the encoder see the visible patches alone, which swin.* windows"),
        ("vit", {"decoder_heads": 5}, "a decoder of 8 blocks, 512 channels and 5 heads is none"),
        ("vit", {"decoder_depth": 0}, "a decoder of 0 blocks"),
        ("vit", {"mask_size": 24}, "squares of 24 pixels do not tile"),
    ],
)
def test_what_cannot_be_is_refused(name, options, said):
    with pytest.raises(ConfigurationError, match=said):
        MAE(tiny(name), **options)


def test_a_beit_whose_blocks_have_biases_of_their_own_is_refused():
    encoder = make_encoder("beit_base_patch16_224", image_size=64, options={"depth": 1})
    with pytest.raises(ConfigurationError, match="which beit_base_patch16_224 cannot: its blocks"):
        MAE(encoder)
