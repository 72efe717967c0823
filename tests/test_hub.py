import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch.testing import assert_close

import sgmim
from conftest import tiny
from exports import features, kept
from sgmim import hub
from sgmim.encoders import Encoder
from sgmim.encoders.files import load_encoder, save_encoder
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.export.subject import open_subject
from sgmim.runs import CONFIG, OBJECTIVE
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.linear import LinearHead

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A hub that is a folder; returns it, and what it was asked for."""
    asked = []

    class Api:
        def create_repo(self, repository, *, private, exist_ok):
            asked.append(("create", repository, private))

        def upload_folder(self, *, repo_id, folder_path):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    def snapshot_download(repository, *, revision, allow_patterns):
        asked.append(("fetch", repository, revision, tuple(allow_patterns)))
        if not (tmp_path / "hub" / repository).is_dir():
            raise LookupError("404: no such repository\nand much more")
        return str(tmp_path / "hub" / repository)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return tmp_path / "hub", asked


def fine_tuned(folder):
    """A run of 'sgmim finetune depth', without the run."""
    torch.manual_seed(0)
    task = DepthEstimation(tiny("vit", (32, 32)), LinearHead, max_depth=7.0).eval()
    folder.mkdir()
    encoder = task.encoder
    save_encoder(encoder, folder, method="depth", normalization="half", license="MIT")
    save_file(task.state_dict(), folder / OBJECTIVE)
    shape = {"embed_dim": 48, "depth": 2, "num_heads": 3}
    config = {
        "finetune": "depth",
        "run": "/home/me/runs/depth",
        "data": {"images": "/home/me/photos", "maps": {"depth": "/home/me/depth"}},
        "encoder": {"name": "vit_tiny_patch16_224", "image_size": 32, "options": shape},
        "task": {"max_depth": 7.0},
        "head": {"name": "linear"},
        "batches": {"normalization": "half"},
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    scores = {"scores": {"rmse": 0.25}, "protocol": {"name": "nyu_full", "images": 654}}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_an_encoder_comes_back_and_nothing_but_weights_and_texts_is_fetched(shelf, tmp_path):
    run = kept("vit", tmp_path / "run")
    address = sgmim.push_to_hub(run, "me/vit")
    assert address == "https://huggingface.co/me/vit"
    again = sgmim.from_pretrained("me/vit", revision="main")
    created, (_, _, revision, patterns) = shelf[1]
    assert created == ("create", "me/vit", True) and revision == "main"
    assert {Path(pattern).suffix for pattern in patterns} == {".safetensors", ".yaml", ".md"}
    assert isinstance(again, Encoder) and not again.training
    image, ours = features(open_subject(run))
    with torch.no_grad():
        assert_close(again(image).flatten(2).transpose(1, 2), ours, rtol=0, atol=0)
    card = (shelf[0] / "me" / "vit" / "README.md").read_text()
    assert 'sgmim.from_pretrained("me/vit")' in card and "license: mit" in card


def test_a_model_that_predicts_comes_back_as_it_was(shelf, tmp_path):
    run = fine_tuned(tmp_path / "run")
    sgmim.push_to_hub(run, "me/depth", private=False)
    again, before = sgmim.from_pretrained("me/depth", device="cpu"), sgmim.load_task(run)
    assert_close(again.predict(PHOTO), before.predict(PHOTO), rtol=0, atol=0)
    there = sorted(path.name for path in (shelf[0] / "me" / "depth").iterdir())
    assert there == ["README.md", "check.json", CONFIG, OBJECTIVE]
    for path in (shelf[0] / "me" / "depth").iterdir():
        assert b"/home/me" not in path.read_bytes()
    card = (shelf[0] / "me" / "depth" / "README.md").read_text()
    assert "nyu_full; 654 images" in card and "| rmse | 0.2500 |" in card
    assert "images of photos; maps of depth" in card and "depth-estimation" in card


def test_what_is_saved_in_a_folder_is_opened_from_there(tmp_path):
    run = kept("vit", tmp_path / "run")
    outcome = sgmim.save_pretrained(run, tmp_path / "it", license="mit")
    assert outcome.largest == 0
    larger = sgmim.from_pretrained(tmp_path / "it", image_size=96)
    assert larger.image_size == (96, 96)
    _, report = load_encoder(tmp_path / "it")
    assert report.share == 1


def test_nothing_is_pushed_of_which_nobody_knows_whose_it_is(shelf, tmp_path):
    run = kept("vit", tmp_path / "run", header={"license": ""})
    with pytest.raises(ConfigurationError, match="give --license"):
        sgmim.push_to_hub(run, "me/vit")
    assert not shelf[1]
    sgmim.push_to_hub(run, "me/vit", license="apache-2.0")
    assert "license: apache-2.0" in (shelf[0] / "me" / "vit" / "README.md").read_text()
    assert open_subject(shelf[0] / "me" / "vit").header["license"] == "apache-2.0"


def test_what_the_hub_answers_is_told_in_one_line(shelf, tmp_path):
    with pytest.raises(FileError, match=r"'me/none': 404: no such repository$"):
        sgmim.from_pretrained("me/none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no model of sgmim"):
        sgmim.from_pretrained(tmp_path / "empty")


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="neither a folder nor a repository"):
        sgmim.from_pretrained("no/such/folder/at all")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    sgmim.save_pretrained(fine_tuned(folder / "run"), folder / "it")
    return folder / "it"


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"encoder": {"options": {"checkpoint_path": "/etc/passwd"}}}, "checkpoint_path"),
        ({"encoder": {"options": {"embed_dim": 48000, "num_heads": 3}}}, "of another file"),
        ({"task": {"class_path": "subprocess.Popen", "init_args": {}}}, "class_path|classes"),
        ({"head": {"name": "os.system"}}, "no head"),
    ],
)
def test_a_configuration_from_elsewhere_opens_and_runs_nothing_else(changed, said, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "it")
    path = tmp_path / "it" / CONFIG
    config = yaml.safe_load(path.read_text())
    for part, values in changed.items():
        config[part] |= values
    path.write_text(yaml.safe_dump(config))
    with pytest.raises((ConfigurationError, DataError), match=said):
        hub.from_pretrained(tmp_path / "it")
