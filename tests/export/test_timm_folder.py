import json

import pytest
import timm
import torch
from torch.testing import assert_close

from exports import cases, features, leaving
from sgmim.encoders import make_encoder
from sgmim.encoders.files import save_encoder
from sgmim.export import export, timm_folder
from sgmim.export.subject import open_subject


@pytest.mark.parametrize("name, shape", cases(("vit", "oblong"), ("simmim_vit", "square")))
def test_plain_timm_opens_it_and_sees_the_same(name, shape, tmp_path):
    subject = leaving(name, tmp_path, shape)
    export(subject, "timm", tmp_path / "timm")
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    image, ours = features(subject)
    with torch.no_grad():
        theirs = model.forward_features(image)
    theirs = theirs.flatten(1, -2)[:, -ours.shape[1] :]
    assert_close(theirs, ours, rtol=0, atol=1e-6)


def test_timm_is_told_how_its_images_are_normalized_and_how_large_they_are(tmp_path):
    export(leaving("vit", tmp_path, "oblong"), "timm", tmp_path / "timm")
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    assert list(data["mean"]) == list(data["std"]) == [0.5] * 3
    assert list(data["input_size"]) == [3, 64, 96]
    image = timm.data.create_transform(**data)(torch.zeros(3, 40, 50))
    assert image.shape == (3, 64, 96)


def test_its_file_is_what_a_pretrained_cfg_takes(tmp_path):
    subject = leaving("vit", tmp_path)
    export(subject, "timm", tmp_path / "timm")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    model = timm.create_model(
        config["architecture"],
        pretrained=True,
        pretrained_cfg=config["pretrained_cfg"] | {"file": tmp_path / "timm" / "model.safetensors"},
        **config["model_args"],
    )
    image, ours = features(subject)
    with torch.no_grad():
        assert_close(model.eval().forward_features(image)[:, 1:], ours, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin", "swinv2"])
def test_whole_windows_mean_the_same_at_other_sizes(name, tmp_path):
    outcome = export(leaving(name, tmp_path), "timm", tmp_path / "timm")
    assert outcome.sizes == ["64 x 64", "128 x 128", "128 x 192"]


@pytest.mark.parametrize(
    "name, options",
    [
        ("croco_vit_tiny_patch16", {}),
        ("multimae_vit_tiny_patch16", {}),
        ("kamim_vit_tiny_patch16", {}),
        ("vit_tiny_patch16_224", {"channels": 5}),
    ],
)
def test_encoders_of_all_kinds_can_leave(name, options, tmp_path):
    """Without class tokens or a last norm, with norms of another eps, of more than colors."""
    shape = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    encoder = make_encoder(name, image_size=64, options=shape, **options)
    save_encoder(encoder, tmp_path, normalization="imagenet")
    assert export(open_subject(tmp_path), "timm", tmp_path / "timm").largest < 1e-4


@pytest.mark.parametrize("said, told", [("", "unknown"), ("CC BY-NC 4.0", "cc-by-nc-4.0")])
def test_the_license_is_that_of_the_weights_not_of_those_timm_has_by_that_name(
    said, told, tmp_path
):
    subject = leaving("vit", tmp_path, header={"license": said})
    timm_folder.write(subject, tmp_path / "timm")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())["pretrained_cfg"]
    assert config["license"] == told and config["tag"] == "sgmim"
