import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from conftest import tiny
from exports import CASES, OBLONG, SQUARE, cases, features, kept, leaving, stir
from sgmim.data.geometry import fit, normalize
from sgmim.encoders import make_encoder
from sgmim.encoders.files import load_encoder, save_encoder
from sgmim.errors import ConfigurationError, DataError
from sgmim.export import export, hugging_face_folder
from sgmim.export.hugging_face_folder import converted
from sgmim.export.subject import open_subject

transformers = pytest.importorskip("transformers")
OPENED = {
    "vit": "ViTModel",
    "simmim_vit": "BeitModel",
    "swin": "SwinModel",
    "swinv2": "Swinv2Model",
}
HELD = [case for case in CASES if case != ("simmim_vit", "oblong")]


@pytest.mark.parametrize("name, shape", HELD)
def test_a_model_of_theirs_with_our_weights_sees_the_same(name, shape):
    size, options = (SQUARE if shape == "square" else OBLONG)[name]
    encoder = tiny(name, size, **options).eval()
    stir(encoder)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        theirs = converted(encoder)(image).last_hidden_state
        ours = encoder(image).flatten(2).transpose(1, 2)
    assert_close(theirs[:, -ours.shape[1] :], ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name, shape", cases(("vit", "oblong"), but=[("simmim_vit", "oblong")]))
def test_transformers_opens_it_and_sees_the_same(name, shape, tmp_path):
    subject = leaving(name, tmp_path, shape)
    export(subject, "hf", tmp_path / "hf")
    model = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval()
    assert type(model).__name__ == OPENED[name]
    image, ours = features(subject)
    with torch.no_grad():
        said = model(image)
        summary = subject.encoder.summary(image)
    assert_close(said.last_hidden_state[:, -ours.shape[1] :], ours, rtol=0, atol=1e-5)
    assert_close(said.pooler_output, summary, rtol=0, atol=1e-5)


def test_nothing_in_it_is_left_to_chance(tmp_path):
    """transformers draws what a file does not have, such as its pooling layer, at random."""
    export(leaving("vit", tmp_path), "hf", tmp_path / "hf")
    _, told = transformers.AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]


def test_its_image_processor_shows_what_the_encoder_is_shown(tmp_path):
    export(leaving("vit", tmp_path, "oblong"), "hf", tmp_path / "hf")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), dtype=np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "hf")
    theirs = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    image = fit({"image": torch.tensor(pixels).permute(2, 0, 1)}, (64, 96))["image"]
    assert_close(theirs, normalize(image[None], "half"), rtol=0, atol=2.5 / 255)


def test_a_vit_is_compared_at_three_sizes_one_of_them_not_square(tmp_path):
    outcome = export(leaving("vit", tmp_path), "hf", tmp_path / "hf")
    assert outcome.sizes == ["64 x 64", "96 x 96", "96 x 128"] and outcome.largest < 1e-5


@pytest.mark.slow
def test_a_swin_v2_of_another_size_counts_positions_in_the_windows_it_learnt_with(tmp_path):
    subject = open_subject(kept("swinv2", tmp_path / "run", window=(8, 8, 4, 2)))
    export(subject, "hf", tmp_path / "hf")
    model = transformers.AutoModel.from_pretrained(tmp_path / "hf", image_size=256).eval()
    larger, _ = load_encoder(tmp_path / "run", image_size=256, window=8)
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        ours = larger.eval()(image).flatten(2).transpose(1, 2)
        assert_close(model(image).last_hidden_state, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name, why",
    [
        ("croco_vit_tiny_patch16", "must have cls_token"),
        ("rotary_vit_tiny_patch16", "no model like"),
        ("multimae_vit_tiny_patch16", "must have norm.bias, norm.weight"),
        ("vit_small_patch14_reg4_dinov2", "no place for .*ls1.gamma"),
    ],
)
def test_what_is_no_model_of_theirs_is_refused_with_the_reason(name, why, tmp_path):
    shape = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    with pytest.raises(ConfigurationError, match=why):
        encoder = make_encoder(name, image_size=56 if "14" in name else 64, options=shape)
        save_encoder(encoder, tmp_path, normalization="imagenet")
        export(open_subject(tmp_path), "hf", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("name", ["swin", "swinv2"])
def test_windows_that_are_not_square_are_refused(name):
    with pytest.raises(ConfigurationError, match=r"square windows .* 2 x 3"):
        converted(tiny(name, (64, 96)))


def test_what_is_refused_would_be_another_model_and_then_nothing_is_left(tmp_path, monkeypatch):
    """transformers takes biases of an oblong BEiT."""
    monkeypatch.setattr(hugging_face_folder, "_check_windows", lambda kind, encoder: None)
    subject = open_subject(kept("simmim_vit", tmp_path / "run", size=(64, 128)))
    with pytest.raises(DataError, match="not what the model is"):
        export(subject, "hf", tmp_path / "hf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
