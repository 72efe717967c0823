import numpy as np
import pytest

import trees
from packs import photos
from sgmim.data.shards import Shards
from shell import TINY, losses, sgmim


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path, 12, 40, 40)


def test_images_are_packed_checked_and_trained_on(folder, capsys):
    maps = ("--maps.depth", folder / "depth", "--hole.depth", "65535", "--workers=0")
    out = folder / "out"
    assert sgmim("data", "pack", folder / "photos", out, *maps, "--samples=5") == 0
    assert sgmim("data", "check", out, "--workers=0") == 0
    assert "3 shards are as they were packed" in capsys.readouterr().out
    runs = {
        "shards": (f"--data.shards={out}",),
        "folder": (
            f"--data.images={folder / 'photos'}",
            f"--data.maps.depth={folder / 'depth'}",
            "--data.hole.depth=65535",
        ),
    }
    for name, data in runs.items():
        assert sgmim("pretrain", "sgmim", *TINY, *data, f"--run={folder / name}") == 0
    assert losses(folder / "shards") == losses(folder / "folder")


def test_a_check_that_finds_something_exits_with_65(folder, capsys):
    out = folder / "out"
    assert sgmim("data", "pack", folder / "photos", out, "--workers=0") == 0
    path, member = out / "image" / "00000.tar", Shards(out).index.member(3, 0)
    content = bytearray(path.read_bytes())
    content[member.offset] ^= 1
    path.write_bytes(content)
    assert sgmim("data", "check", out, "--workers=0") == 65
    shown = capsys.readouterr()
    assert "sample 3 (" in shown.err and "has 1 faults" in shown.err


def test_broken_images_are_told_of(folder, capsys):
    (folder / "photos" / "0.jpg").write_bytes(b"broken")
    words = ("data", "pack", folder / "photos", folder / "out", "--workers=0")
    assert sgmim(*words) == 65
    assert "broken_share=0.001" in capsys.readouterr().err
    assert sgmim(*words, "--broken_share=0.5") == 0
    assert "1 broken ones left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "WHAT? There is scan, pack, check"),
        (("pak",), "did you mean 'pack'"),
        (("scan", "gone"), "no folder or list gone"),
        (("scan", ".", "--gpu=0"), "more than 0"),
        (("check", "gone"), "no folder gone"),
        (("check", "s3://bucket"), "reads a folder"),
        (("pack", ".", "out", "--encoding.depth=png7"), "encoding"),
        (("pack", ".", "out", "--qualty=3"), "did you mean '--quality'"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys):
    assert sgmim("data", *words) in (2, 74)
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1


def test_help_tells_the_jobs(capsys):
    assert sgmim("data", "--help") == 0
    assert "sgmim data pack IMAGES OUT" in capsys.readouterr().out


@pytest.fixture
def camvid(tmp_path):
    return trees.camvid(tmp_path / "camvid")


def test_a_dataset_that_is_whole_passes_the_check(camvid, capsys):
    assert sgmim("data", "check", camvid, camvid.parent) == 0
    shown = capsys.readouterr().out
    for said in (
        "CamVid in",
        "3 of 3 samples",
        "2 of 2 samples",
        "48 x 64 pixels, 92% of them",
    ):
        assert said in shown
    assert "somewhere" in shown and "for research" in shown  # whence, and the license


@pytest.mark.parametrize(
    "name, tree, said",
    [
        ("kitti", trees.kitti, "1 of 652 samples; 45 more have no ground truth"),
        ("nyu", trees.nyu_folders, "4 of 24,231 samples"),
        ("ade20k", trees.ade20k, "2 of 2,000 samples"),
    ],
)
def test_a_dataset_that_is_not_whole_exits_with_65(tmp_path, capsys, name, tree, said):
    drives = {"train": {"2011_09_26_drive_0001": [5]}, "test": {"2011_09_26_drive_0002": [6]}}
    tree(tmp_path, **drives if name == "kitti" else {})
    assert sgmim("data", "check", name, tmp_path, "--samples=1") == 65
    shown = capsys.readouterr()
    assert said in shown.out and "license" in shown.out
    assert "is not whole" in shown.err


def test_a_check_reads_samples_and_names_what_it_cannot_read(camvid, capsys):
    path = camvid.parent / "val/labels/0001.png"
    path.write_bytes(path.read_bytes()[:40])
    trees.save(camvid.parent / "val/labels/0000.png", np.full((48, 64), 11, np.uint8))
    assert sgmim("data", "check", camvid, camvid.parent) == 65
    shown = capsys.readouterr().out
    assert "0001.png cannot be read" in shown
    assert "0% of them known; 1 know nothing" in shown


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("kitti",), 2, "cvlibs.net"),
        (("kiti", "folder"), 2, "did you mean 'kitti'"),
        (("kitti", "gone"), 74, "no folder gone"),
        (("gone.yaml", "."), 74, "no description gone.yaml"),
        (("kitti", ".", "--crops=kb"), 2, "did you mean"),
    ],
)
def test_a_check_of_what_is_not_there_says_so(capsys, words, code, said):
    assert sgmim("data", "check", *words) == code
    assert said in capsys.readouterr().err


def test_options_of_a_dataset_are_told(capsys):
    with pytest.raises(SystemExit):
        sgmim("data", "check", "kitti", "--help")
    assert "--val_drives" in capsys.readouterr().out
