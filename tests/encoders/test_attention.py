"""Attention as it is looked at is attention as it is used."""

import pytest
import torch

from conftest import tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.attention import attention
from sgmim.errors import ConfigurationError

SIZES = {"wide": (64, 128), "high": (128, 64)}
VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}
BUILT = {
    "class token": ("vit_tiny_patch16_224", VIT),
    "no class token": ("vit_tiny_patch16_224", {**VIT, "class_token": False}),
    "registers": ("vit_tiny_patch16_224", {**VIT, "reg_tokens": 3}),
    "q and k normed": ("vit_tiny_patch16_224", {**VIT, "qk_norm": True}),
    "own biases": ("beit_base_patch16_224", {**VIT, "init_values": 0.1}),
    "shared bias": ("simmim_vit_tiny_patch16", {"embed_dim": 48, "depth": 2}),
    "rotary": ("rotary_vit_tiny_patch16", VIT),
    "rotary, class token": ("rotary_vit_tiny_patch16", {**VIT, "class_token": True}),
}
SWIN = {"embed_dim": 24, "depths": (2, 2, 2, 1)}
WINDOWED = {"swin": "swin_tiny_patch4_window7_224", "swinv2": "swinv2_tiny_window8_256"}


def shaken(encoder):
    """No parameter is left at a value that hides it, such as a table of zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return encoder.eval()


def plain(kind, size=(64, 128)):
    name, options = BUILT[kind]
    return shaken(make_encoder(name, image_size=size, options=options))


def windowed(kind, size=(64, 128), window=4):
    return shaken(make_encoder(WINDOWED[kind], image_size=size, window=window, options=SWIN))


def given(encoder, of, block):
    """What the probabilities give: times the values, projected."""
    module = block.attn
    values = module.qkv(of.before).unflatten(-1, (3, module.num_heads, -1))[..., 2, :, :]
    if getattr(module, "v_bias", None) is not None:
        values = values + module.v_bias.unflatten(0, (module.num_heads, -1))
    found = of.probabilities @ values.transpose(-2, -3)  # (b, g, heads, n, d)
    return module.proj(found.transpose(-2, -3).flatten(-2))


ENCODERS = [*((plain, kind) for kind in BUILT), *((windowed, kind) for kind in WINDOWED)]


@pytest.mark.parametrize(("make", "kind"), ENCODERS, ids=[kind for _, kind in ENCODERS])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@torch.no_grad()
def test_probabilities_times_values_are_what_attention_gave(make, kind, size):
    encoder = make(kind, size)
    image = torch.randn(2, 3, *size)
    for block, of in zip(encoder.blocks, attention(encoder, image), strict=True):
        torch.testing.assert_close(given(encoder, of, block), of.after, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(of.probabilities.sum(-1), torch.ones(of.probabilities.shape[:4]))
        assert of.grid[0] * of.stride == size[0] and of.grid[1] * of.stride == size[1]
        assert of.cells.flatten().sort().values.tolist() == list(range(of.grid[0] * of.grid[1]))


@pytest.mark.parametrize("kind", WINDOWED)
@torch.no_grad()
def test_windows_are_those_of_the_image_also_where_they_are_shifted(kind):
    """Tokens in order are what the block works on; parted patches do not look at each other."""
    encoder = windowed(kind, (64, 128))
    image, shifted = torch.randn(2, 3, 64, 128), 0
    walk = encoder.walk(image)
    tokens = encoder.embed(image)
    for block, of in zip(encoder.blocks, attention(encoder, image), strict=True):
        if tokens.shape[1:3] != of.grid:
            stages = encoder.backbone.layers
            tokens = next(s for s in stages if block in list(s.blocks)).downsample(tokens)
        came = tokens if kind == "swinv2" else block.norm1(tokens)
        torch.testing.assert_close(of.in_order(of.before), came.flatten(1, 2))
        torch.testing.assert_close(of.in_order(of.after), block._attn(came).flatten(1, 2))
        parted = ~of.joined[None, :, None].expand_as(of.probabilities)
        assert (of.probabilities[parted] < 1e-20).all()
        shifted += parted.any().item()
        tokens = next(walk)
    assert shifted == 3  # the second blocks of stages with several windows; of 4 x 8, across alone


@torch.no_grad()
def test_patches_that_a_shift_has_joined_are_neighbors():
    encoder = windowed("swin", (64, 128))
    for of in attention(encoder, torch.randn(1, 3, 64, 128)):
        apart = (of.places()[:, :, None] - of.places()[:, None]).abs().amax(-1)
        assert (apart[of.joined] < 4 * of.stride).all()


@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
@torch.no_grad()
def test_a_grid_may_be_smaller_than_its_window(size):
    for kind in WINDOWED:
        encoder = windowed(kind, size)
        *_, last = attention(encoder, torch.randn(2, 3, *size))
        assert last.probabilities.shape[-1] == len(last.cells[0]) == size[1] // 32
        for block, of in zip(
            encoder.blocks, attention(encoder, torch.randn(2, 3, *size)), strict=1
        ):
            torch.testing.assert_close(given(encoder, of, block), of.after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "kind"), ENCODERS, ids=[kind for _, kind in ENCODERS])
@torch.no_grad()
def test_the_encoder_goes_its_own_way_and_is_left_as_it_was(make, kind):
    encoder = make(kind)
    image = torch.randn(2, 3, 64, 128)
    plainly = encoder(image)
    for _ in attention(encoder, image):
        pass
    *_, walked = encoder.walk(image)
    assert torch.equal(encoder(image), plainly)
    walked = encoder.backbone.norm(walked)
    walked = encoder._map(walked) if encoder.is_plain else walked.permute(0, 3, 1, 2)
    assert torch.equal(walked, plainly)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_nothing_is_left_behind_where_a_block_fails_or_nobody_asks_further(monkeypatch):
    encoder = plain("class token")
    image = torch.randn(1, 3, 64, 128)
    next(attention(encoder, image))
    assert not any(module._forward_hooks for module in encoder.modules())
    monkeypatch.setattr(encoder.blocks[1].mlp, "forward", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(attention(encoder, image))
    assert not any(module._forward_hooks for module in encoder.modules())


def test_no_more_is_computed_than_is_asked_for(monkeypatch):
    encoder = plain("class token")
    monkeypatch.setattr(encoder.blocks[1], "forward", lambda *_: 1 / 0)
    assert next(attention(encoder, torch.randn(1, 3, 64, 128))).probabilities.shape[-1] == 33


@torch.no_grad()
def test_images_of_another_size_lie_on_a_grid_of_their_own():
    of = next(attention(tiny("vit").eval(), torch.randn(1, 3, 80, 48)))
    assert of.grid == (5, 3) and of.prefix == 1 and of.among_patches.shape[-2:] == (15, 15)
    assert of.places()[0, 4].tolist() == [24.0, 24.0]


def test_attention_of_another_kind_is_refused():
    differential = {**VIT, "num_heads": 2, "attn_layer": "diff"}
    encoder = make_encoder("vit_tiny_patch16_224", image_size=64, options=differential)
    with pytest.raises(ConfigurationError, match="attends by timm's DiffAttention"):
        next(attention(encoder, torch.randn(1, 3, 64, 64)))
    several = make_encoder(
        "vit_small_patch16_18x2_224", image_size=64, options={"embed_dim": 48, "depth": 1}
    )
    with pytest.raises(ConfigurationError, match="attends by timm's ParallelThingsBlock"):
        next(attention(several, torch.randn(1, 3, 64, 64)))


def test_windows_that_reach_beyond_their_grid_are_refused():
    name, options = WINDOWED["swin"], {**SWIN, "always_partition": True}
    encoder = make_encoder(name, image_size=64, window=4, options=options)
    with pytest.raises(ConfigurationError, match="always_partition"):
        next(attention(encoder, torch.randn(1, 3, 64, 64)))
