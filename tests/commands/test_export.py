import json
from pathlib import Path

import pytest
import timm
import torch
from torch.testing import assert_close

import sgmim as package
from exports import kept
from sgmim.data.geometry import normalize
from shell import ENCODER, FEW, SCENES, TINY, files, sgmim


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    assert sgmim("pretrain", "simmim", *TINY, *SCENES, f"--run={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth")
    words = (*ENCODER, *FEW, *SCENES, "--head.name=linear", f"--run={folder}")
    assert sgmim("finetune", "depth", *words) == 0
    return folder


def test_a_run_leaves_for_others(run, capsys):
    assert sgmim("export", run, "--to", "timm,sgmim") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["timm", "sgmim"]
    assert all("differs by" in line and "at 32 x 32" in line for line in said)
    kinds = {Path(file).parts[0] for file in files(run / "exported")}
    assert kinds == {"timm", "sgmim"}
    card = (run / "exported" / "timm" / "README.md").read_text()
    assert "| learnt by | simmim |" in card and "scenes: 24" in card and "| steps | 4 |" in card
    encoder, _ = package.load_encoder(run)
    model = timm.create_model(f"local-dir:{run / 'exported' / 'timm'}", pretrained=True).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours = encoder.eval()(image).flatten(2).transpose(1, 2)
        assert_close(model.forward_features(image)[:, 1:], ours, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_what_was_fine_tuned_leaves_with_its_head(depth, tmp_path, capsys):
    assert sgmim("export", depth, "--to", "hf,torch", "--out", tmp_path) == 0
    assert "sgmim" in (tmp_path / "hf" / "README.md").read_text()
    model = package.load_task(depth, device="cpu")
    colors = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        ours = model(colors)
        assert_close(package.from_pretrained(tmp_path / "hf", device="cpu")(colors), ours)
        program = torch.export.load(tmp_path / "torch" / "depth.pt2").module()
        assert_close(program(colors), ours, rtol=0, atol=1e-5)
        features = torch.export.load(tmp_path / "torch" / "encoder.pt2").module()(colors)
        seen = model.task.encoder(normalize(255 * colors))
        assert_close(features, seen, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_what_was_fine_tuned_runs_in_onnxruntime(depth, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    assert sgmim("export", depth, "--to", "onnx", "--out", tmp_path) == 0
    session = runtime.InferenceSession(tmp_path / "onnx" / "depth.onnx")
    colors = torch.rand(3, 3, 32, 32)
    (said,) = session.run(None, {"image": colors.numpy()})
    with torch.no_grad():
        ours = package.load_task(depth, device="cpu")(colors)
    assert_close(torch.from_numpy(said), ours, rtol=0, atol=1e-4)


def test_a_file_leaves_beside_where_it_lies(tmp_path):
    file = kept("vit", tmp_path) / "encoder.safetensors"
    assert sgmim("export", file, "--image_size", "[32, 48]") == 0
    told = json.loads((tmp_path / "exported" / "timm" / "check.json").read_text())
    assert {tuple(row["size"]) for row in told["checks"]} == {(32, 48)}


def test_a_folder_is_pushed_as_it_is(tmp_path, monkeypatch, capsys):
    pushed = []
    monkeypatch.setattr(
        "sgmim.commands.export.push_folder",
        lambda folder, repository, private: pushed.append((folder, repository, private)) or "done",
    )
    words = ("export", kept("vit", tmp_path, header={"license": ""}), "--push", "me/vit")
    assert sgmim(*words) == 2 and "--license" in capsys.readouterr().err
    assert sgmim(*words, "--license=mit", "--to=timm,torch") == 2
    assert "one format" in capsys.readouterr().err and not (tmp_path / "exported").exists()
    assert sgmim(*words, "--license=mit", "--private=false") == 0
    assert pushed == [(tmp_path / "exported" / "timm", "me/vit", False)]


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--to=tim"], 2, "did you mean 'timm'"),
        (["--image_size=50"], 2, "the nearest that fits is 48 x 48"),
        (["--license=mit"], 2, "under 'CC BY-NC 4.0'"),
    ],
)
def test_what_cannot_leave_is_refused_in_one_line(tmp_path, capsys, words, code, said):
    run = kept("vit", tmp_path, header={"license": "CC BY-NC 4.0"})
    assert sgmim("export", run, *words) == code
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "exported").exists()


def test_a_run_that_is_none_is_refused(tmp_path, capsys):
    assert sgmim("export", tmp_path) == 74
    assert "no encoder at" in capsys.readouterr().err
