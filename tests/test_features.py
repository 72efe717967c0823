"""Features of frozen encoders, compared with the encoders' blocks one by one."""

import pytest
import torch
from torch import nn

from conftest import tiny
from sgmim import features
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.features import Reading, extracted, gathered, read, reading

KINDS = ("vit", "simmim_vit", "rotary_vit", "swin", "swinv2")


@pytest.fixture(scope="module", params=KINDS)
def encoder(request):
    torch.manual_seed(0)
    made = tiny(request.param, image_size=64).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def images(count=3, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def deep(blocks, **options):
    shape = {"embed_dim": 24, "depth": blocks, "num_heads": 2, "patch_size": 16}
    return make_encoder("vit_tiny_patch16_224", image_size=32, options=shape | options).eval()


def one(encoder, image, **asked):
    (vectors,) = read(encoder, image, [reading(encoder, **asked)])
    return vectors


def test_the_last_layer_after_the_final_norm_is_what_the_encoder_ends_with(encoder):
    image = images()
    expected = encoder(image).mean(dim=(2, 3))
    torch.testing.assert_close(one(encoder, image, layer="last", pool="mean", norm=True), expected)


def test_the_preset_mae_is_the_encoders_own_summary(encoder):
    image = images()
    torch.testing.assert_close(one(encoder, image, preset="mae"), encoder.summary(image))


@pytest.mark.parametrize("blocks, eighth", [(12, 8), (18, 12), (4, 2), (1, 1)])
def test_the_preset_kamim_is_the_mean_of_the_patches_of_block_8_of_12_without_a_norm(
    blocks, eighth
):
    encoder, image = deep(blocks), images(size=32)
    tokens = encoder.placed(encoder.embed(image))
    for block in encoder.backbone.blocks[:eighth]:
        tokens = block(tokens)
    assert reading(encoder, "kamim").layer == eighth
    torch.testing.assert_close(one(encoder, image, preset="kamim"), tokens[:, 1:].mean(dim=1))


@pytest.mark.parametrize("kind", ["swin", "swinv2"])
def test_the_preset_kamim_is_a_swins_last_stage_before_the_final_norm(kind):
    encoder, image = tiny(kind, image_size=64).eval(), images()
    nn.init.normal_(encoder.backbone.norm.weight)
    cells = encoder.backbone.layers(encoder.backbone.patch_embed(image))
    torch.testing.assert_close(one(encoder, image, preset="kamim"), cells.mean(dim=(1, 2)))


def test_both_is_the_class_token_and_then_the_mean():
    encoder, image = deep(2), images(size=32)
    vectors = [one(encoder, image, layer=1, pool=pool) for pool in ("cls", "mean", "both")]
    torch.testing.assert_close(torch.cat(vectors[:2], dim=1), vectors[2])


def test_registers_are_neither_class_token_nor_patches():
    encoder, image = deep(1, reg_tokens=3), images(size=32)
    tokens = encoder.backbone.blocks(encoder.placed(encoder.embed(image)))
    assert tokens.shape[1] == 1 + 3 + 4
    found = one(encoder, image, layer=1, pool="both", norm=False)
    torch.testing.assert_close(found, torch.cat([tokens[:, 0], tokens[:, 4:].mean(dim=1)], dim=1))


def test_one_pass_serves_several_readings_and_goes_no_deeper_than_the_deepest(encoder):
    image, last = images(), encoder.layer()
    passes = [reading(encoder, "kamim", layer=layer) for layer in (last, 1)]
    together = read(encoder, image, passes)
    for vectors, each in zip(together, passes, strict=True):
        assert torch.equal(vectors, read(encoder, image, [each])[0])
    if last == 1:
        return
    block = encoder.blocks[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "forward", lambda *_: pytest.fail("a later block was asked"))
        read(encoder, image, [passes[1]])


def test_a_batch_at_a_time_or_all_at_once_is_the_same(encoder):
    image, where = images(5), [reading(encoder, "mae")]
    batches = [{"image": image[:3]}, {"image": image[3:]}]
    (bank,) = gathered(encoder, batches, where, 5, precision="fp32")
    torch.testing.assert_close(bank, read(encoder, image, where)[0])
    assert not bank.is_inference() and not bank.requires_grad


def test_features_are_fp32_whatever_the_encoder_computes_in():
    encoder, batch = deep(2), {"image": images(size=32)}
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        where = [reading(encoder, "kamim")]
        (((vectors,), same),) = extracted(encoder, [batch], where, precision=precision)
        assert vectors.dtype == torch.float32 and same is batch
        found[precision] = vectors
    for half in ("bf16", "fp16"):
        assert not torch.equal(found[half], found["fp32"])
        torch.testing.assert_close(found[half], found["fp32"], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "kind, asked, said",
    [
        ("vit", {"layer": 3}, "has 2 blocks, counted from 1: there is no layer 3"),
        ("vit", {"layer": 0}, "there is no layer 0"),
        ("rotary_vit", {"pool": "cls"}, "has no class token: take the pooling 'mean'"),
        ("swin", {"layer": 2, "norm": True}, "is for its last stage"),
        ("swin", {"layer": 5}, "has 4 stages"),
        ("vit", {"preset": "kamin"}, "did you mean 'kamim'?"),
    ],
)
def test_what_an_encoder_does_not_have_is_refused(kind, asked, said):
    with pytest.raises(ConfigurationError) as refused:
        reading(tiny(kind, image_size=64), **asked)
    assert said in str(refused.value)


def test_a_reading_says_where_it_is():
    assert str(Reading(8, 12, "mean", False)) == "layer 8 of 12, mean of patches, no final norm"


def test_every_preset_is_known_to_linear_probes_too():
    from sgmim.probing.presets import PRESETS

    assert set(PRESETS) == set(features.PRESETS)
