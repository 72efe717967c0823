"""Scores by the command line: of benchmarks as they are published, and of data that are bad."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from torch.testing import assert_close

import trees
from shell import ENCODER, FEW, SCENES, handed_over, sgmim

DEPTH = ("finetune", "depth", "--head.width=8", "--task.max_depth=80", *ENCODER, *FEW, *SCENES)
TEST = ("--test.scenes=6", "--test.scene_size=32")
EVERY = ("--training.save_every=1", "--test_every=0.4", *TEST)  # an epoch has 3 steps


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    run = tmp_path_factory.mktemp("deep") / "run"
    assert sgmim(*DEPTH, *TEST, f"--run={run}") == 0
    return run


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The same run, scored after every step."""
    run = tmp_path_factory.mktemp("watched") / "run"
    assert sgmim(*DEPTH, *EVERY, f"--run={run}") == 0
    return run


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    test = {"2011_09_26_drive_0002": [69], "2011_09_30_drive_0016": [11]}
    return trees.kitti(tmp_path_factory.mktemp("kitti"), test=test)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return trees.camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def segmented(camvid, tmp_path_factory):
    run = tmp_path_factory.mktemp("segmented") / "run"
    data = (f"--data.dataset={camvid}", f"--data.root={camvid.parent}")
    words = ("finetune", "segmentation", "--head.name=linear", "--task.classes=11")
    small = ("--training.batch=3", "--training.steps=1", f"--run={run}")
    assert sgmim(*words, *ENCODER, *FEW, *data, *small) == 0
    return run


def evaluate(task, run, to, *words):
    assert sgmim("evaluate", task, run, *words, f"--json={to}", "--device=cpu") == 0
    return json.loads(to.read_text())


def test_kitti_is_scored_as_published_by_a_name_and_the_record_says_all(
    deep, kitti, tmp_path, capsys
):
    words = ("--protocol=kitti_mimd", f"--test.root={kitti}", "--partial")
    record = evaluate("depth", deep, tmp_path / "record.json", *words)
    told = record["protocol"]
    assert told["name"] == "as kitti_mimd but images 2 (652), size 32 x 32 (352 x 352)"
    expected = {"region": "garg", "region_frame": "kb", "max_depth": 80.0, "clamp": False}
    assert expected.items() <= told.items()
    shown = {"mode": "shift", "windows": 16, "compat": True, "flip": True, "size": [32, 32]}
    assert told["inference"] == shown
    assert (told["images_found"], told["images_expected"]) == (2, 652)
    weights = (deep / "objective.safetensors").read_bytes()
    assert record["checkpoint"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert record["step"] == 4 and record["command"].startswith(f"sgmim evaluate depth {deep}")
    assert all(np.isfinite(list(record["scores"].values())))
    said = capsys.readouterr().out
    for line in (
        "protocol     as kitti_mimd but",
        "images found 2 of 652",
        "region garg",
        "sha256",
    ):
        assert line in said


def test_options_beside_a_protocol_take_precedence_and_change_its_name(deep, kitti, tmp_path):
    words = ("--protocol=kitti_bts", f"--test.root={kitti}", "--partial", "--score.region=eigen")
    told = evaluate("depth", deep, tmp_path / "record.json", *words)["protocol"]
    assert told["name"] == "as kitti_bts but region eigen (garg), images 2 (652)"
    assert told["region_frame"] == "full" and told["inference"]["mode"] == "whole"


def test_a_split_that_is_not_complete_is_an_error(deep, kitti, capsys):
    words = ("--protocol=kitti_mimd", f"--test.root={kitti}")
    assert sgmim("evaluate", "depth", deep, *words) == 65
    assert "2 images were found to test on, and this split has 652" in capsys.readouterr().err
    test = ("--test.dataset=kitti", f"--test.root={kitti}", "--dry_run")
    assert sgmim(*DEPTH, *test) == 65  # before any training
    assert sgmim(*DEPTH, *test, "--partial") == 0


def test_truth_that_is_all_zero_is_counted_and_if_there_is_no_other_an_error(
    deep, kitti, tmp_path, capsys
):
    holes = tmp_path / "kitti"
    shutil.copytree(kitti, holes)
    tested = ("2011_09_26_drive_0002_sync", "2011_09_30_drive_0016_sync")
    truths = [path for drive in tested for path in sorted(holes.rglob(f"{drive}/proj*/**/*.png"))]
    words = ("--protocol=kitti_bts", f"--test.root={holes}", "--partial")
    trees.save(truths[0], np.zeros((375, 1242), np.uint16))
    told = evaluate("depth", deep, tmp_path / "record.json", *words)["protocol"]
    assert (told["images"], told["images_without_truth"]) == (1, 1)
    for path in truths[1:]:
        trees.save(path, np.zeros(trees.KITTI_SIZE[path.parts[-5][:10]], np.uint16))
    assert sgmim("evaluate", "depth", deep, *words) == 65
    assert "none of 2 images has a depth between 0.001 and 80" in capsys.readouterr().err


def test_classes_are_scored_with_a_share_for_each_by_name(segmented, camvid, tmp_path, capsys):
    words = (f"--test.dataset={camvid}", f"--test.root={camvid.parent}", "--test.split=val")
    record = evaluate("segmentation", segmented, tmp_path / "record.json", *words)
    iou = record["protocol"]["iou"]
    assert list(iou)[:2] == ["Sky", "Building"] and len(iou) == 11
    assert record["scores"]["miou"] == pytest.approx(np.mean(list(iou.values())))
    assert record["protocol"]["name"].startswith("none that is published")
    assert record["protocol"]["images_expected"] == 2
    said = capsys.readouterr().out
    assert f"  Sky                    {iou['Sky']:.4f}" in said


def labelled(folder, label):
    """Two images, with labels of which one is given."""
    for number in range(2):
        labels = np.full((40, 48), number, np.uint8)
        labels[:10] = label
        trees.save(folder / "images" / f"{number}.png", trees.colored(40, 48, number))
        trees.save(folder / "labels" / f"{number}.png", labels)
    return f"--test.images={folder / 'images'}", f"--test.maps.classes={folder / 'labels'}"


def test_label_255_is_no_class_where_that_is_said_and_else_an_error(segmented, tmp_path, capsys):
    words = labelled(tmp_path / "with_255", 255)
    said = evaluate(
        "segmentation", segmented, tmp_path / "told.json", *words, "--test.hole.classes=255"
    )
    assert said["protocol"]["images"] == 2
    capsys.readouterr()
    assert sgmim("evaluate", "segmentation", segmented, *words) == 65
    error = capsys.readouterr().err
    assert "255" in error and "hole.classes" in error and error.count("\n") == 1


def test_a_label_above_the_classes_is_one_clear_message(segmented, tmp_path, capsys):
    assert sgmim("evaluate", "segmentation", segmented, *labelled(tmp_path, 11)) == 65
    error = capsys.readouterr().err
    assert (
        "0.png has the number 11" in error and "of 11 classes" in error and error.count("\n") == 1
    )


def test_labels_that_all_mean_nothing_are_no_score(segmented, tmp_path, capsys):
    words = labelled(tmp_path, 7)
    for path in (tmp_path / "labels").iterdir():
        trees.save(path, np.full((40, 48), 255, np.uint8))
    assert sgmim("evaluate", "segmentation", segmented, *words, "--test.hole.classes=255") == 65
    assert "none of 2 images has a labelled pixel" in capsys.readouterr().err


def test_a_run_scored_as_it_trains_is_the_same_run_and_its_best_is_labelled(deep, watched):
    assert_close(handed_over(watched), handed_over(deep), rtol=0, atol=0)
    rows = [json.loads(line) for line in (watched / "tests.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    record = json.loads((watched / "scores.json").read_text())
    assert record["scores"] == rows[-1]["scores"]  # the headline is the last, not the best
    best = record["best, selected on the test data"]
    assert best["rmse"]["score"] == min(row["scores"]["rmse"] for row in rows)
    assert best["delta1"]["score"] == max(row["scores"]["delta1"] for row in rows)
    assert "best, selected on the test data" not in json.loads((deep / "scores.json").read_text())


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_scores_of_every_step(watched, tmp_path):
    stopped = tmp_path / "stopped"
    scored = []

    def interrupted(run, score, step, objective):
        scored.append(step)
        if len(scored) == 2:
            raise KeyboardInterrupt
        look(run, score, step, objective)

    with pytest.MonkeyPatch.context() as patch:
        from sgmim.commands.finetune import _look as look

        patch.setattr("sgmim.commands.finetune._look", interrupted)
        assert sgmim(*DEPTH, *EVERY, f"--run={stopped}") == 130
    assert sgmim(*DEPTH, *EVERY, f"--run={stopped}") == 0
    assert (stopped / "tests.jsonl").read_text() == (watched / "tests.jsonl").read_text()
    assert_close(handed_over(stopped), handed_over(watched), rtol=0, atol=0)
