"""'sgmim probe', on photographs of few colors: which color is what an encoder is to tell."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import tiny
from sgmim.encoders.files import save_encoder
from shell import files, sgmim

COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
QUICK = (
    "--linear.optimizer=adamw", "--linear.rates=[0.03, 0.1]", "--linear.epochs=6",
    "--linear.warmup_epochs=1", "--device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """Folders of images: 12 of each color to learn from, 5 to test on."""
    dice, folder = np.random.default_rng(0), tmp_path_factory.mktemp("colors")
    for part, count in (("train", 12), ("test", 5)):
        for name, color in COLORS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = dice.integers(0, 56, (40, 48, 3)) + color
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / part / name / f"{number}.png"
                )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("runs") / "one")


def saved(folder, kind="vit", seed=0):
    torch.manual_seed(seed)
    save_encoder(tiny(kind, image_size=32), folder, normalization="imagenet", step=7)
    return folder


def data(folder, part="data", of="train"):
    return (f"--{part}.images={folder / of}", f"--{part}.labels=folders")


def both(folder):
    return (*data(folder), *data(folder, "test", "test"))


def written(run):
    (file,) = (run / "probes").glob("*.json")
    return json.loads(file.read_text())


def test_a_linear_probe_tells_colors_apart_and_says_how_it_was_made(capsys, run, colors):
    assert sgmim("probe", "linear", run, *both(colors), *QUICK, "--seeds=2") == 0
    record = json.loads((run / "probes" / f"linear_mae_{colors.name}.json").read_text())
    assert record["scores"] == {"top1": 1.0, "macc": 1.0}
    protocol = record["protocol"]
    assert (protocol["train"], protocol["test"], protocol["classes"]) == (36, 15, 3)
    assert (protocol["layer"], protocol["of"], protocol["pool"]) == (2, 2, "cls")
    assert (protocol["share"], protocol["weight_decay"]) == (0.875, 0.0)
    assert "never" not in protocol["rate_chosen_on"] and "held out" in protocol["rate_chosen_on"]
    assert [each["seed"] for each in record["seeds"]] == [0, 1] and record["step"] == 7
    assert [row["rate"] for row in record["seeds"][0]["grid"]] == [0.03, 0.1]
    assert record["seeds"][0]["held_out"] == 3  # one of each class
    assert record["spread"]["top1"] == 0.0 and protocol["precision"] in ("fp32", "bf16")
    assert record["command"].startswith("sgmim probe linear") and record["checkpoint"]["sha256"]
    said = capsys.readouterr().out
    assert "top1         1.0000 ± 0.0000" in said and "2 seeds" in said
    assert "36 known, of which 3 chose the rate; 15 tested on; 3 classes" in said


def test_neighbors_are_asked_of_the_test_data_or_of_each_other(capsys, tmp_path, colors):
    run = saved(tmp_path / "run")
    words = ("--knn.k=[5, 1]", "--device=cpu")
    assert sgmim("probe", "knn", run, *both(colors), *words) == 0
    assert written(run)["scores"]["top1"] == 1.0 and written(run)["protocol"]["test"] == 15
    assert sgmim("probe", "knn", run, *data(colors), *words) == 0
    record = written(run)
    assert record["protocol"]["test"] == 0 and record["seeds"][0]["by_k"] == {"1": 1.0, "5": 1.0}
    assert "36 known; each asked of all others; 3 classes" in capsys.readouterr().out


def test_several_encoders_are_put_beside_each_other(capsys, tmp_path, colors):
    runs = [saved(tmp_path / name, kind) for name, kind in (("a", "vit"), ("b", "swin"))]
    words = ("--preset=kamim", "--test_share=0.25", "--json", tmp_path / "all.json")
    words += ("--out", tmp_path / "out", "--name=colors")
    assert sgmim("probe", "linear", "first=" + str(runs[0]), runs[1], "new", *data(colors),
                 *QUICK, *words) == 0  # fmt: skip
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["encoder", "layer", "top1"]
    assert "ends at one that was chosen" in rows.pop()  # a grid of two has nothing else
    assert [row.split()[:4] for row in rows] == [
        ["first", "1", "of", "2"], ["b", "4", "of", "4"], ["new", "1", "of", "2"]
    ]  # fmt: skip
    assert files(tmp_path / "out") == ["new_colors.json"]
    one, other, new = json.loads((tmp_path / "all.json").read_text())
    assert one == json.loads((runs[0] / "probes" / "colors.json").read_text())
    assert (one["protocol"]["train"], one["protocol"]["test"]) == (27, 9)
    assert other["protocol"]["norm"] is False and other["protocol"]["share"] is None
    assert new["checkpoint"]["file"] is None and len(new["checkpoint"]["sha256"]) == 64


def test_every_layer_that_is_asked_for_has_its_record(capsys, tmp_path, colors):
    run = saved(tmp_path / "run")
    words = ("--features.layer=[1, 2]", "--features.pool=both", "--knn.k=[3]", "--name=k")
    assert sgmim("probe", "knn", run, *data(colors), *words) == 0
    assert files(run / "probes") == ["k_layer1.json", "k_layer2.json"]
    assert "run_layer1" in capsys.readouterr().out


def test_features_from_the_cache_give_the_same_scores_without_an_encoder(
    tmp_path, colors, monkeypatch
):
    run = saved(tmp_path / "run")
    words = ("probe", "linear", run, *both(colors), *QUICK, f"--features.cache={tmp_path / 'kept'}")
    assert sgmim(*words) == 0
    first = written(run)
    monkeypatch.setattr("sgmim.features.read", lambda *_: pytest.fail("an encoder was asked"))
    assert sgmim(*words) == 0
    assert {**written(run), "date": 0} == {**first, "date": 0}


def test_other_weights_and_other_images_are_not_taken_from_the_cache(tmp_path, colors, monkeypatch):
    kept = (f"--features.cache={tmp_path / 'kept'}", "--knn.k=[3]", "--device=cpu")
    run = saved(tmp_path / "run")
    read, asked = pytest.importorskip("sgmim.features").read, []
    monkeypatch.setattr("sgmim.features.read", lambda *w: asked.append(1) or read(*w))
    for _ in range(2):
        assert sgmim("probe", "knn", run, *data(colors), *kept) == 0
    assert len(asked) == 1
    saved(run, seed=1)
    assert sgmim("probe", "knn", run, *data(colors), *kept) == 0
    (colors / "train" / "red" / "0.png").touch()
    assert sgmim("probe", "knn", run, *data(colors), *kept) == 0
    assert len(asked) == 3


MISTAKES = [
    (("linaer",), "did you mean 'linear'?", 2),
    (("linear", "--preset=kamin"), "did you mean 'kamim'?", 2),
    (("linear",), "--test_share 0.3", 2),
    (("linear", "--test.images=SAME", "--test.labels=folders", "--test.split=train"), "learnt", 2),
    (("linear", "--test_share=1.5"), "above 0 and below 1", 2),
    (("linear", "--test_share=0.2", "--features.layer=9"), "there is no layer 9", 2),
    (("linear", "--features.share=2.0"), "share is above 0 and at most 1", 2),
    (("linear", "--linear.optimizer=adam"), "did you mean 'adamw'?", 2),
    (("linear", "--seeds=0"), "seeds", 2),
    (("knn", "--knn.k=[400]"), "there are 35", 2),
    (("knn", "--data.labels=null"), "--data.labels folders", 2),
    (("knn", "--knn.k=[3]", "--image_size=33"), "33", 2),
]


@pytest.mark.parametrize("words, said, code", MISTAKES)
def test_a_mistake_is_told_in_one_line(capsys, run, colors, words, said, code):
    kind, *options = words
    options = [word.replace("SAME", str(colors / "train")) for word in options]
    assert sgmim("probe", kind, run, *data(colors), *options) == code
    told = capsys.readouterr().err
    assert said in told and told.startswith("sgmim: ") and told.count("\n") == 1


def test_classes_that_differ_are_an_error_of_data(capsys, run, colors, tmp_path):
    for name in ("blue", "yellow"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "test" / name / "0.png")
    words = (*data(colors), *data(tmp_path, "test", "test"))
    assert sgmim("probe", "linear", run, *words) == 65
    assert "yellow" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_an_error_of_files(capsys, colors):
    assert sgmim("probe", "knn", "nowhere", *data(colors)) == 74
    assert "nowhere" in capsys.readouterr().err
