"""'sgmim analyze': what it opens, what it looks at, what it leaves behind."""

import csv
import json

import pytest
import torch

from conftest import case
from sgmim.analysis.subject import open_subjects
from shell import SCENES, TINY, files, photographs, sgmim

EMBEDDING = "backbone.patch_embed.proj.weight"
FOUR = [f"spectrum.{kind}" for kind in ("csv", "json", "pdf", "png")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert sgmim("pretrain", "simmim", "--run", folder, *TINY, *SCENES) == 0
    return folder


@pytest.fixture
def analyze(run, tmp_path, capsys):
    def told(*words, out=tmp_path / "out"):
        capsys.readouterr()
        code = sgmim("analyze", *words, f"--out={out}", "--device=cpu")
        return code, capsys.readouterr()

    return told


def read(path):
    return json.loads(path.read_text())


def test_one_run_is_looked_at_on_its_own_data(run, capsys):
    assert sgmim("analyze", "spectrum", run, "--images=8", "--device=cpu") == 0
    assert f"{run}/analysis/spectrum.png" in capsys.readouterr().out
    assert files(run / "analysis") == FOUR
    made = read(run / "analysis" / "spectrum.json")
    assert made["data"]["scenes"] == 24 and made["images"] == 8 and made["subject"] == "one"
    with open(run / "analysis" / "spectrum.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["delta"]) for row in rows] == [row["delta"] for row in made["rows"]]


def test_several_are_told_together(run, analyze, tmp_path):
    photographs(tmp_path / "photos")
    code, said = analyze(
        "spectrum", f"Ours={run}", "scratch=new", f"--data.images={tmp_path / 'photos'}"
    )
    assert code == 0 and "scratch" in said.out
    assert files(tmp_path / "out") == FOUR
    together = read(tmp_path / "out" / "spectrum.json")
    assert list(together["subjects"]) == ["Ours", "scratch"]
    ours, scratch = together["subjects"].values()
    assert ours["numbers"] != scratch["numbers"] and ours["images"] == 6
    assert together["data"] == {"images": str(tmp_path / "photos"), "split": "val"}


def test_what_a_method_painted_is_asked_of_the_method(run):
    assert sgmim("analyze", "reconstruction", run, "--images=8", "--device=cpu") == 0
    made = read(run / "analysis" / "reconstruction.json")
    assert made["options"]["mask_ratio"] == 0.4
    assert made["numbers"]["PSNR (dB), hidden"] < made["numbers"]["PSNR (dB), filled"]


def test_a_mistake_is_a_line(run, analyze, tmp_path):
    for words, said in [
        (("spectrm", run), "did you mean 'spectrum'"),
        (("spectrum", "new", "--data.scenes=8"), "like another"),
        (("spectrum", run, run), "two of them are called one"),
        (("spectrum", tmp_path / "no.safetensors", "--data.scenes=8"), "no encoder at"),
        (("spectrum", run, "--layers=[3]"), "no layer 3"),
        (("spectrum", run, "--size=33"), "do not divide"),
        (("spectrum", run, "--images=0"), "1 or more"),
        (("reconstruction", run, "new"), "none for new weights"),
        (("similarity", run, "--images=2"), "4 images or more"),
    ]:
        code, told = analyze(*words)
        assert code in (2, 65, 74) and said in told.err and len(told.err.splitlines()) == 1


def test_checkpoints_of_others_are_opened_too():
    path = case("simmim_vit") / "checkpoint.pth"
    (subject,) = open_subjects([f"authors={path}"])
    assert subject.name == "authors" and subject.run == path
    image = torch.zeros(1, 3, *subject.encoder.image_size)
    assert subject.encoder(image).isfinite().all()


def test_new_weights_are_always_the_same(run):
    made = [list(open_subjects([str(run), "new"]))[1].encoder.state_dict() for _ in range(2)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    trained = next(iter(open_subjects([str(run)]))).encoder.state_dict()
    assert not torch.equal(
        trained["backbone.patch_embed.proj.weight"], made[0]["backbone.patch_embed.proj.weight"]
    )
