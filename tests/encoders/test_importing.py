"""Files of others become encoders of this library; what is none is refused, and it says why."""

import json
import sys
from argparse import Namespace
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from test_converters import dino, simmim

from conftest import case, tiny
from sgmim import cli
from sgmim.encoders import checkpoints
from sgmim.encoders.files import initialize, load_encoder, read_header, saved_options
from sgmim.encoders.importing import import_encoder
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import ConfigurationError, DataError

STRANGERS = {
    "a language model": ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"],
    "a ResNet": ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],
    "BERT": ["bert.embeddings.word_embeddings.weight"],
    "CLIP": ["visual.conv1.weight", "logit_scale"],
    "a ConvNeXt": ["downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"],
    "a detector": ["backbone.body.conv1.weight", "rpn.head.conv.weight"],
    "a diffusion model": ["down_blocks.0.attentions.0.norm.weight"],
    "nothing that is known": ["a", "b"],
}


@pytest.mark.parametrize("looks", STRANGERS)
def test_a_wrong_file_is_told_for_what_it_looks_like(looks):
    with pytest.raises(DataError, match=f"look like .*{looks}"):
        convert({name: torch.zeros(2) for name in STRANGERS[looks]})


def test_a_file_with_an_optimizer_s_state_alone_is_told_for_what_it_is():
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    with pytest.raises(DataError, match="the state of an optimizer"):
        convert(optimizer)


def test_a_file_of_two_sources_is_refused_with_both_named():
    one, other = tiny("vit", (64, 64)), tiny("swin", (64, 64))
    mixed = one.backbone.state_dict() | simmim(other.backbone.state_dict())
    with pytest.raises(DataError) as error:
        load_into(tiny("vit", (64, 64)), mixed)
    assert "SimMIM" in str(error.value) and "\n" not in str(error.value)
    before = simmim(other.backbone.state_dict()) | dino(one.backbone.state_dict())["teacher"]
    with pytest.raises(DataError, match=r"no part of SimMIM.*those of DINO"):
        load_into(other, before)


@pytest.mark.parametrize("kind", ["vit", "simmim_vit", "swin", "swinv2"])
def test_one_name_that_is_wrong_is_an_error(kind):
    encoder = tiny(kind, (64, 64))
    state = encoder.backbone.state_dict()
    for number, name in enumerate(sorted(state)[:: len(state) // 5]):
        wrong = {f"{n}s" if n == name else n: t for n, t in state.items()}
        with pytest.raises(DataError, match="do not fit"):
            load_into(encoder, wrong)
        shorter = state | {name: state[name][..., :-1]}
        if number:
            with pytest.raises(DataError, match=r"do not fit|cannot be resized"):
                load_into(encoder, shorter)


def test_what_is_imported_loads_again_and_says_where_it_is_from(tmp_path, capsys):
    file = case("simmim_swin") / "checkpoint.pth"
    assert cli.main(["weights", "import", str(file), "--as", str(tmp_path / "mine")]) == 0
    printed = capsys.readouterr().out
    assert "119 of 132 tensors; 100.0%" in printed and "2 of decoder" in printed
    encoder, report = load_encoder(tmp_path / "mine")
    direct = import_encoder(file).encoder
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder(image), direct(image))
    header = read_header(tmp_path / "mine")
    assert header["source"] == "SimMIM" and header["license"] == "MIT"
    assert header["normalization"] == "imagenet" and len(header["sha256"]) == 64
    assert report.license == "MIT" and report.normalization == "imagenet"
    assert "decoder" in header["report"]


def test_what_is_there_is_not_written_over(tmp_path, capsys):
    file = str(case("simmim_vit") / "checkpoint.pth")
    target = str(tmp_path / "mine.safetensors")
    assert cli.main(["weights", "import", file, "--as", target]) == 0
    assert cli.main(["weights", "import", file, "--as", target]) == ConfigurationError.exit_code
    assert cli.main(["weights", "show", target]) == ConfigurationError.exit_code
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize("name, size", [("simmim_swin", 128), ("simmim_vit", 96), ("mae", 96)])
def test_it_can_be_imported_for_another_size_and_says_what_was_resized(name, size):
    imported = import_encoder(case(name) / "checkpoint.pth", image_size=size, heads=4)
    assert imported.encoder.image_size == (size, size)
    assert imported.report.resized and imported.report.share == 1
    same = import_encoder(case(name) / "checkpoint.pth", heads=4)
    assert not same.report.resized


def test_an_imported_swin_v2_counts_positions_in_the_windows_it_was_trained_with():
    file = case("glp_swinv2") / "checkpoint.pth"
    imported = import_encoder(file)
    counted = [s.blocks[0].attn.pretrained_window_size for s in imported.encoder.backbone.layers]
    assert [pair[0] for pair in counted] == [6, 6, 6, 3]
    assert imported.metadata["normalization"] == "none"


def test_heads_that_nothing_tells_are_asked_for():
    with pytest.raises(DataError, match="no ViT of 48 channels is known"):
        import_encoder(case("mae") / "checkpoint.pth")


def test_a_plain_vit_is_made_of_simmim_s_only_where_a_loss_is_allowed(tmp_path, capsys):
    file = str(case("simmim_vit") / "checkpoint.pth")
    words = ["weights", "import", file, "--as", str(tmp_path), "--encoder", "vit_base_patch16_224"]
    assert cli.main(words) == DataError.exit_code
    assert "--allow-lossy" in capsys.readouterr().err


class CfgNode(dict):
    """As yacs's: a dictionary that is also told things about itself."""


def test_settings_of_simmim_and_of_argparse_are_read_as_data_without_yacs(tmp_path, monkeypatch):
    yacs = ModuleType("yacs.config")
    yacs.CfgNode = CfgNode
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    for name in ("yacs", "yacs.config"):
        monkeypatch.setitem(sys.modules, name, yacs)
    state = tiny("vit", (64, 64)).backbone.state_dict()
    settings = CfgNode(MODEL=CfgNode(TYPE="swin"))
    settings.__dict__["__immutable__"] = True
    torch.save({"model": state, "config": settings, "args": Namespace(lr=1.0)}, tmp_path / "x.pth")
    for name in ("yacs", "yacs.config"):
        monkeypatch.delitem(sys.modules, name)
    content = checkpoints.unpickled(tmp_path / "x.pth")
    assert type(content["config"]) is OrderedDict
    assert content["config"]["MODEL"]["TYPE"] == "swin"
    assert initialize(tiny("vit", (64, 64)), tmp_path / "x.pth").share == 1


def test_a_checkpoint_of_others_tells_a_run_which_encoder_to_build():
    saved = saved_options(case("simmim_swin") / "checkpoint.pth")
    assert saved["image_size"] == 64 and saved["window"][0] == 4
    assert saved_options(case("mae") / "checkpoint.pth") == {}  # of no known width


def test_what_lies_beside_a_file_of_transformers_is_heeded(tmp_path):
    state = torch.load(case("kamim_vit") / "checkpoint.pth")["model_state_dict"]
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    means = {"image_mean": [0.5, 0.5, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(means))
    imported = import_encoder(tmp_path / "model.safetensors")
    assert imported.encoder.blocks[0].attn.num_heads == 4
    assert imported.metadata["normalization"] == "half"
