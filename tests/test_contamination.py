import json

import numpy as np
import pytest
from PIL import Image

from sgmim.contamination import handed_on, seen, warning
from sgmim.data.derived import Exchanged, Subset, WithMap
from sgmim.data.images import Images
from sgmim.data.stored import NOTE
from sgmim.knowledge.live import LIVE
from sgmim.sources import make_source
from shell import ENCODER, FEW, SCENES, TINY, sgmim

TEST = ("--test.scenes=4", "--test.scene_size=32")


def pictures(folder, count, **note):
    """Images and depth maps, and what is noted of these."""
    rng = np.random.default_rng(0)
    for name in ("photos", "depth"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        photo = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(photo).save(folder / "photos" / f"{number}.png")
        depth = rng.integers(1000, 9000, (32, 32)).astype(np.uint16)
        Image.fromarray(depth).save(folder / "depth" / f"{number}.png")
    (folder / "depth" / NOTE).write_text(json.dumps({"scale": 1000, **note}))
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    note = {"source": "Intel/zoedepth-nyu-kitti", "trained_on": ["kitti", "nyu"]}
    return pictures(tmp_path_factory.mktemp("taught"), 8, **note)


@pytest.fixture(scope="module")
def pretrained(taught, tmp_path_factory):
    run, maps = tmp_path_factory.mktemp("runs") / "pretrained", f"--data.maps.depth={taught}/depth"
    data = (f"--data.images={taught}/photos", maps)
    assert sgmim("pretrain", "sgmim", *TINY, *data, f"--run={run}") == 0
    return run


@pytest.fixture(scope="module")
def finetuned(pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "finetuned"
    words = ("--head.width=8", *FEW, *SCENES, f"--init={pretrained}", f"--run={run}")
    assert sgmim("finetune", "depth", *words) == 0
    return run


def test_an_encoder_says_what_its_teachers_were_trained_on(pretrained):
    teacher = ["Intel/zoedepth-nyu-kitti"]
    assert handed_on(pretrained) == {"kitti": teacher, "nyu": teacher}


def test_fine_tuning_hands_it_on(pretrained, finetuned):
    assert handed_on(finetuned) == handed_on(pretrained)


def test_evaluating_on_such_a_benchmark_warns(finetuned, capsys):
    assert sgmim("evaluate", "depth", finetuned, *TEST, "--test.benchmark=NYU") == 0
    told = capsys.readouterr()
    assert "learnt from Intel/zoedepth-nyu-kitti, trained on NYU" in told.err
    assert "abs_rel" in told.out


@pytest.mark.parametrize("words", [(), ("--test.benchmark=sintel",)])
def test_evaluating_on_anything_else_does_not(finetuned, capsys, words):
    assert sgmim("evaluate", "depth", finetuned, *TEST, *words) == 0
    assert capsys.readouterr().err == ""


def test_so_does_the_test_at_the_end_of_fine_tuning(tmp_path, pretrained, capsys):
    words = ("--head.width=8", *FEW, *SCENES, *TEST, "--test.benchmark=kitti")
    assert sgmim("finetune", "depth", *words, f"--init={pretrained}", f"--run={tmp_path}/a") == 0
    assert "trained on kitti" in capsys.readouterr().err


def test_maps_that_are_fine_tuned_on_count_too(tmp_path, taught):
    data = (f"--data.images={taught}/photos", f"--data.maps.depth={taught}/depth")
    words = ("finetune", "depth", "--head.width=8", *ENCODER, *FEW, *data)
    assert sgmim(*words, f"--run={tmp_path}/run") == 0
    assert set(handed_on(tmp_path / "run")) == {"kitti", "nyu"}


def test_only_maps_that_are_learnt_from_count(taught):
    source = Images(taught / "photos", {"depth": taught / "depth"})
    assert seen(source, ("image",)) == {}
    assert list(seen(source, ("image", "depth"))) == ["kitti", "nyu"]


def test_a_part_of_a_source_says_what_the_whole_does(taught):
    source = Images(taught / "photos", {"depth": taught / "depth"})
    whole = seen(source, {"depth"})
    for part in (Subset(source, count=3), WithMap(source, "edges", LIVE["edges"])):
        assert seen(part, {"depth"}) == whole
    assert seen(Exchanged(source, "depth"), {"depth"}) == whole


def test_packed_maps_say_it_too(tmp_path, taught):
    maps = f"--maps.depth={taught}/depth"
    assert sgmim("data", "pack", f"{taught}/photos", tmp_path / "packed", maps) == 0
    source = make_source(shards=str(tmp_path / "packed"))
    assert source is not None
    assert list(seen(source, {"depth"})) == ["kitti", "nyu"]


def test_what_says_nothing_is_warned_of_nowhere(tmp_path):
    pictures(tmp_path, 2)
    source = Images(tmp_path / "photos", {"depth": tmp_path / "depth"})
    assert seen(source, {"depth"}) == {}
    assert warning({}, "kitti") is None
    assert warning({"kitti": ["a"]}, None) is None
    assert handed_on(None) == {}
