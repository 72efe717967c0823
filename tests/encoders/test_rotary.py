"""Rotary positions: what tokens have to do with each other depends on how far apart they are."""

import pytest
import timm
import torch

from conftest import tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.files import initialize, load_encoder, save_encoder
from sgmim.encoders.rotary import turned, turns
from sgmim.errors import ConfigurationError
from sgmim.export import hugging_face_folder, timm_folder
from sgmim.export.subject import open_subject


def test_products_of_turned_tokens_depend_on_how_far_apart_they_are():
    q, k = torch.randn(2, 1, 1, 1, 16)
    table = turns((5, 7), 16)
    q, k = (turned(x.expand(-1, -1, 35, -1), table)[0, 0].unflatten(0, (5, 7)) for x in (q, k))
    far = [(q[y, x] * k[y + 2, x + 3]).sum() for y in range(3) for x in range(4)]
    torch.testing.assert_close(torch.stack(far), far[0].expand(12))
    other = (q[0, 0] * k[3, 2]).sum()
    assert (other - far[0]).abs() > 1e-3


def test_the_first_token_of_all_and_those_without_a_place_are_not_turned():
    x = torch.randn(1, 2, 13, 8)
    ours = turned(x, turns((3, 4), 8, prefix=1))
    torch.testing.assert_close(ours[:, :, :2], x[:, :, :2])
    assert not torch.allclose(ours[:, :, 2:], x[:, :, 2:])


def test_places_come_with_the_tokens():
    """In any order, each token finds what it found among all."""
    encoder = tiny("rotary_vit").eval()
    tokens = encoder.placed(encoder.embed(torch.randn(2, 3, 64, 96)))
    order = torch.randperm(24).expand(2, -1)
    mixed = encoder.mix(tokens[:, order[0]], order)
    torch.testing.assert_close(mixed, encoder.mix(tokens)[:, order[0]])


def test_its_weights_are_those_of_any_image_size(tmp_path):
    encoder = tiny("rotary_vit", (64, 96))
    save_encoder(encoder, tmp_path)
    larger, report = load_encoder(tmp_path, image_size=(96, 128))
    assert report.share == 1 and not report.resized
    image = torch.randn(1, 3, 96, 128)
    again = tiny("rotary_vit", (96, 128))
    initialize(again, tmp_path, at_least=1.0)
    assert torch.equal(larger.eval()(image), again.eval()(image))


@pytest.mark.parametrize("options", [{}, {"class_token": True}, {"reg_tokens": 2}])
def test_timm_rebuilds_it_from_its_name(options):
    vit = timm.create_model("rotary_vit_tiny_patch16", num_classes=5, depth=1, img_size=64)
    assert vit(torch.randn(1, 3, 64, 64)).shape == (1, 16, 5)
    encoder = make_encoder("rotary_vit_tiny_patch16", image_size=64, options=options | {"depth": 1})
    assert encoder(torch.randn(1, 3, 64, 64)).shape == (1, 192, 4, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="a head of 6 channels is to have 8"):
        tiny_options = {"embed_dim": 48, "num_heads": 8, "depth": 1}
        make_encoder("rotary_vit_tiny_patch16", image_size=64, options=tiny_options)
    with pytest.raises(ConfigurationError, match="timm has no weights"):
        make_encoder("rotary_vit_base_patch16", image_size=64, pretrained=True)


def test_it_leaves_for_what_needs_no_name_of_it(tmp_path):
    save_encoder(tiny("rotary_vit", (64, 64)), tmp_path, normalization="half")
    subject = open_subject(tmp_path)
    for form in (timm_folder, hugging_face_folder):
        with pytest.raises(ConfigurationError, match=r"no model like rotary.*; take --to onnx"):
            form.write(subject, tmp_path / "there")
