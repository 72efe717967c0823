"""Labels to scores, by the commands: two kinds of pictures, told apart after a few steps."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import sgmim as package
import trees
from shell import ENCODER, handed_over, sgmim

STEPS = (
    "--device=cpu", "--training.steps=12", "--training.batch=8", "--training.lr=3e-3",
    "--training.lr_per=0", "--training.precision=fp32", "--training.log_every=1",
    "--training.warmup_steps=2", "--task.classes=2",
)  # fmt: skip


def pictures(root, count=8):
    """Bright and dark ones, of two sizes."""
    dice = np.random.default_rng(0)
    for name, low in (("bright", 140), ("dark", 10)):
        for number in range(count):
            pixels = dice.integers(low, low + 100, (40, 48 + 8 * (number % 2), 3), dtype=np.uint8)
            trees.save(root / name / f"{number}.png", pixels)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


def finetune(folder, run, *words):
    data = (f"--{part}.{option}" for part in ("data", "test")
            for option in (f"images={folder}", "labels=folders"))  # fmt: skip
    return sgmim("finetune", "classification", *ENCODER, *STEPS, *data, f"--run={run}", *words)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    words = (
        "--batches.policy=rand-m1-inc1", "--batches.erasing.probability=0.2",
        "--batches.mixing.mixup=0.2", "--batches.mixing.cutmix=0", "--task.smoothing=0.05",
    )  # fmt: skip
    assert finetune(folder, run, *words) == 0
    return run


def test_two_kinds_of_pictures_are_told_apart(run):
    made = json.loads((run / "scores.json").read_text())
    assert made["scores"]["top1"] >= 0.9 and made["scores"]["macc"] >= 0.9
    assert made["protocol"]["inference"]["mode"] == "center"
    assert set(made["protocol"]["recall"]) == {"bright", "dark"}


def test_it_is_scored_again_alike_and_in_other_ways(run, folder, tmp_path, capsys):
    words = ("evaluate", "classification", run, f"--test.images={folder}", "--device=cpu")
    record = tmp_path / "again.json"
    assert sgmim(*words, "--test.labels=folders", f"--json={record}") == 0
    again, made = (json.loads(path.read_text()) for path in (record, run / "scores.json"))
    assert again["scores"] == made["scores"]
    assert "bright" in (said := capsys.readouterr().out) and "mode center" in said
    flipped = ("--inference.flip=true", "--inference.mode=whole", "--test.labels=folders")
    assert sgmim(*words, *flipped) == 0
    assert sgmim(*words) == 2
    assert "--test.labels folders" in capsys.readouterr().err
    assert sgmim(*words, "--test.labels=folders", "--inference.mode=slide") == 2
    assert "one thing of an image: take center or whole" in capsys.readouterr().err


def test_a_table_names_the_likeliest_classes_of_any_images(run, folder, tmp_path, capsys):
    (folder / "dark" / "broken.png").write_bytes(b"not a picture")
    try:
        assert sgmim("predict", run, folder, tmp_path / "out", "--device=cpu") == 0
    finally:
        (folder / "dark" / "broken.png").unlink()
    assert "broken.png" in capsys.readouterr().err
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    right = [row["image"].startswith(row["class 1"]) for row in rows]
    assert sum(right) >= 14
    for row in rows:
        shares = [float(row[f"probability {place}"]) for place in (1, 2)]
        assert shares[0] >= shares[1] and sum(shares) == pytest.approx(1, abs=2e-4)
    assert sgmim("predict", run, folder, tmp_path / "x", "--device=cpu", "--names", "a") == 2


def test_the_model_in_python_says_what_the_table_does(run, folder):
    model = package.load_task(run, device="cpu")
    assert (model.map, model.classes) == ("label", ("bright", "dark"))
    path = folder / "dark" / "0.png"
    number, logits = model.predict(path), model.predict(Image.open(path), logits=True)
    assert (number.shape, number.dtype, logits.shape) == ((), torch.int64, (2,))
    assert model.classes[number] == "dark" == model.classes[logits.argmax()]


def test_a_probe_leaves_the_encoder_as_it_is(run, folder, tmp_path):
    probe = tmp_path / "probe"
    words = ("--task.frozen=true", "--task.layer=1", "--task.norm=none", "--optimizer.name=lars",
             "--optimizer.weight_decay=0", "--training.steps=3")  # fmt: skip
    assert finetune(folder, probe, f"--init={run}", *words) == 0
    before, after = handed_over(run), handed_over(probe)
    encoder = [name for name in before if name.startswith("encoder.")]
    assert encoder and all(torch.equal(before[name], after[name]) for name in encoder)


@pytest.mark.parametrize(
    "words, said",
    [
        (("--task.classes=3",), "2 classes (bright to dark), and the model tells 3 apart"),
        (("--training.batch=5", "--batches.mixing.mixup=0.2"), "5 at once, which is odd"),
        (("--head.name=linear",), "no option --head.name"),
        (("--batches.policy=augmix",), "a policy is timm's RandAugment"),
        (("--optimizer.name=sgd",), "--optimizer.name takes adamw or lars, not sgd"),
        (("--data.labels=files",), "--data.labels takes folders"),
    ],
)
def test_mistakes_are_told_before_any_training(folder, tmp_path, capsys, words, said):
    assert finetune(folder, tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_other_classes_to_test_on_are_refused(folder, tmp_path, capsys):
    other = trees.in_folders(tmp_path / "other", cat=1, dog=1)
    assert finetune(folder, tmp_path / "run", f"--test.images={other}") == 65
    assert "only in one of both: bright, cat, dark" in capsys.readouterr().err
