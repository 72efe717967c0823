"""Checkpoints of others come in whole, and what does not fit is refused."""

import pytest
import torch

from conftest import tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.layouts import hugging_face
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import DataError
from sgmim.layers import tokens


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_models_of_hugging_face_come_in_by_their_newest_names(kind):
    transformers = pytest.importorskip("transformers")
    shape = {"image_size": 64, "encoder_stride": 16 if kind == "vit" else 32}
    if kind == "vit":
        wide = {"hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 3}
        config = transformers.ViTConfig(**shape, **wide, num_hidden_layers=2)
        theirs = transformers.ViTForMaskedImageModeling(config).vit
        options = {"embed_dim": 48, "depth": 2, "num_heads": 3}
        encoder = make_encoder("kamim_vit_tiny_patch16", image_size=64, options=options)
    else:
        small = {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [3, 6, 12, 24]}
        config = transformers.SwinConfig(**shape, **small, window_size=2, drop_path_rate=0.0)
        theirs = transformers.SwinForMaskedImageModeling(config).swin
        encoder = tiny("swin", (64, 64), window=2)
    with torch.no_grad():
        for parameter in theirs.parameters():  # also what begins as 0 or 1
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    report = load_into(encoder, {f"{kind}.{n}": t for n, t in theirs.state_dict().items()})
    assert not report.missing and not report.unexplained
    image = torch.randn(2, 3, 64, 64)
    expected = theirs.eval()(image).last_hidden_state[:, int(kind == "vit") :]
    torch.testing.assert_close(tokens(encoder.eval()(image)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", [None, torch.ones(3, 4), torch.ones(4, 4).half(), torch.ones(())])
def test_queries_without_keys_like_them_are_left_alone(key):
    state = {"embeddings.cls_token": torch.ones(1, 1, 4)}
    for part in ("query", "key", "value"):
        tensor = key if part == "key" else torch.ones(4, 4)
        if tensor is not None:
            state[f"encoder.layer.0.attention.attention.{part}.weight"] = tensor
    converted = convert(state, layout=hugging_face.VIT).state
    assert "blocks.0.attn.query.weight" in converted and len(converted) == len(state)


def test_numbers_that_are_no_matrices_are_not_joined():
    block = "encoder.layers.0.blocks.0.attention.self"
    names = [f"{block}.{part}.bias" for part in ("query", "key", "value")]
    state = {"embeddings.norm.bias": torch.ones(4)} | {name: torch.ones(()) for name in names}
    assert len(convert(state, layout=hugging_face.SWIN).state) == 4


def test_weights_for_another_size_and_window_are_resized_and_it_says_so():
    small, large = tiny("swin", (64, 64), window=2), tiny("swin", (96, 96), window=3)
    report = load_into(large, small.backbone.state_dict())
    assert report.share == 1.0
    assert len(report.resized) == 5 and "5 resized" in str(report)
    vit, wide = tiny("vit", (64, 64)), tiny("vit", (64, 96))
    assert load_into(wide, vit.backbone.state_dict()).resized == ["pos_embed"]


def test_weights_of_a_rectangular_window_come_back_as_they_were():
    one, other = tiny("swin", (64, 96)), tiny("swin", (64, 96))
    load_into(other, one.backbone.state_dict())
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(one(image), other(image))


@pytest.mark.parametrize("wrong", ["vit", "swinv2", "nothing", "strangers"])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed(wrong):
    encoder = tiny("swin")
    before = {key: t.clone() for key, t in encoder.backbone.state_dict().items()}
    state = {"nothing": {}, "strangers": {"weight": torch.ones(3)}}.get(wrong)
    state = tiny(wrong).backbone.state_dict() if state is None else state
    with pytest.raises(DataError, match="do not fit"):
        load_into(encoder, state)
    after = encoder.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_part_is_loaded_where_that_is_asked_for():
    encoder = tiny("vit")
    state = {k: t for k, t in tiny("vit").backbone.state_dict().items() if "blocks.1" not in k}
    report = load_into(encoder, state, at_least=0.1)
    assert 0.1 < report.share < 0.95 and all("blocks.1" in name for name in report.missing)
