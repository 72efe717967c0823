import json

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

import sgmim
from conftest import TINY, tiny
from sgmim.encoders.files import load_encoder, save_encoder
from sgmim.errors import DataError, FileError


@pytest.fixture(params=TINY)
def encoder(request):
    torch.manual_seed(0)
    return tiny(request.param, drop_path=0.1).eval()


def test_an_encoder_comes_back_as_it_was(encoder, tmp_path):
    save_encoder(encoder, tmp_path, method="simmim", step=12)
    again, report = load_encoder(tmp_path / "encoder.safetensors")
    image = torch.randn(2, 3, *encoder.image_size)
    assert_close(again.eval()(image), encoder(image), rtol=0, atol=0)
    assert report.share == 1 and not report.missing and not report.unexplained
    assert "100.0%" in str(report)
    assert (again.name, again.image_size) == (encoder.name, encoder.image_size)
    assert json.loads(json.dumps(again.options)) == json.loads(json.dumps(encoder.options))


def test_plain_timm_reads_it(encoder, tmp_path):
    file = tmp_path / "encoder.safetensors"
    save_encoder(encoder, file, license="Apache-2.0", step=3, mask={"ratio": 0.6})
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    model = timm.create_model(header["name"], **json.loads(header["options"])).eval()
    model.load_state_dict(state)
    image = torch.randn(1, 3, *encoder.image_size)
    with torch.no_grad():
        theirs, ours = model.forward_features(image), encoder.backbone.forward_features(image)
    assert_close(theirs, ours, rtol=0, atol=0)
    assert header["license"] == "Apache-2.0" and header["sgmim"] == sgmim.__version__
    assert json.loads(header["step"]) == 3 and json.loads(header["mask"]) == {"ratio": 0.6}


@pytest.mark.parametrize("name", TINY)
def test_it_can_come_back_for_other_images(name, tmp_path):
    save_encoder(tiny(name, image_size=64, drop_path=0.1), tmp_path)
    larger, report = load_encoder(tmp_path, image_size=128, drop_path=0.0)
    assert larger.image_size == (128, 128)
    assert larger(torch.randn(1, 3, 128, 128)).shape[2:] == larger.grid
    assert larger.options["drop_path_rate"] == 0.0
    assert report.share == 1 and not report.misshapen


def test_a_swin_v2_counts_positions_in_the_windows_it_was_pre_trained_with(tmp_path):
    """12, 12, 12, 6 for SwinV2-B at 192 pixels: its last stage has no room for 12."""
    small = tiny("swinv2", image_size=64)
    save_encoder(small, tmp_path)
    larger, _ = load_encoder(tmp_path, image_size=128)
    counted = [stage.blocks[0].attn.pretrained_window_size for stage in larger.backbone.layers]
    assert tuple(map(tuple, counted)) == small.windows == ((8, 8), (8, 8), (4, 4), (2, 2))


def test_a_run_without_an_encoder_is_named(tmp_path):
    with pytest.raises(FileError, match="no encoder at"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no tensors at all", bytes(100)])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(content)
    with pytest.raises(DataError, match="no safetensors file"):
        load_encoder(file)


def test_weights_that_do_not_say_what_they_are_are_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match="does not say which encoder"):
        load_encoder(tmp_path)


def test_a_part_of_the_weights_is_refused_unless_asked_for(tmp_path):
    encoder = tiny("vit")
    encoder.backbone.blocks = encoder.backbone.blocks[:1]
    save_encoder(encoder, tmp_path)
    with pytest.raises(DataError, match="at least 95%"):
        load_encoder(tmp_path)
    _, report = load_encoder(tmp_path, at_least=0.1)
    assert 0.1 < report.share < 0.95 and report.missing
