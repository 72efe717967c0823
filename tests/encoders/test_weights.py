"""Checkpoints of others come in whole, and what does not fit is refused."""

import json

import pytest
import torch

from conftest import case, tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import DataError

FULL_SIZE = {
    "simmim_swin_base_192_w6": ("swin_base_patch4_window7_224", 192, 6),
    "simmim_vit_base_224": ("simmim_vit_base_patch16", 224, None),
    "sgmim_swin_base_192_w6": ("swin_base_patch4_window7_224", 192, 6),
}


def listed_models():
    return json.loads((case("state_dict_keys") / "keys.json").read_text())


@pytest.mark.parametrize("model", FULL_SIZE)
def test_full_size_checkpoints_convert_with_nothing_unexplained(model):
    listed = listed_models()
    assert model in listed, f"no {model}; there is {', '.join(listed)}"
    name, size, window = FULL_SIZE[model]
    with torch.device("meta"):
        encoder = make_encoder(name, image_size=size, window=window)
        state = {key: torch.empty(shape) for key, (shape, _) in listed[model]["state_dict"].items()}
    source, converted = convert({"model": state})
    own = encoder.backbone.state_dict()
    assert source in ("SimMIM", "SG-MIM")
    assert {key: t.shape for key, t in converted.items()} == {k: t.shape for k, t in own.items()}


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
    with pytest.raises(DataError, match="at least 95%"):
        load_into(encoder, state)
    after = encoder.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_part_is_loaded_where_that_is_asked_for():
    encoder = tiny("vit")
    state = {k: t for k, t in tiny("vit").backbone.state_dict().items() if "blocks.1" not in k}
    report = load_into(encoder, state, at_least=0.1)
    assert 0.1 < report.share < 0.95 and all("blocks.1" in name for name in report.missing)
