import numpy as np
import pytest
import torch

import trees
from sgmim.data import eigen
from sgmim.data.datasets.kitti import Kitti
from sgmim.errors import ConfigurationError, DataError, FileError

TRUTH = "data_depth_annotated/train/{0}_sync/proj_depth/groundtruth/image_02/{1:010d}.png"
IMAGE = "raw_data/2011_09_26/{0}_sync/image_02/data/{1:010d}.png"
TRAINED, TESTED = "2011_09_26_drive_0001", "2011_09_26_drive_0002"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trees.kitti(tmp_path_factory.mktemp("kitti"))


def small(folder, layout="A", size=(36, 60), **options):
    """One drive to train on, one to test on, in small pictures."""
    frames = {"train": {TRAINED: [5]}, "test": {TESTED: [6, 9]}}
    return trees.kitti(folder, layout, size=size, **frames | options)


def whole(*words, **options):
    return Kitti(*words, crop="none", **options)


def same(one, other):
    assert list(one.names) == list(other.names) and len(one) == len(other)
    torch.testing.assert_close(one.read(0), other.read(0), rtol=0, atol=0, equal_nan=True)


def test_both_layouts_give_the_same_samples(tmp_path):
    one, other = small(tmp_path / "a"), small(tmp_path / "b", "B")
    for split in Kitti.splits:
        same(whole(one, split), whole(other, split))


def test_ground_truth_is_found_in_train_and_in_val_and_in_neither(tmp_path):
    folder = small(tmp_path)
    expected = whole(folder).read(0)
    for part in ("val", "."):
        (folder / f"data_depth_annotated/{part}").mkdir(exist_ok=True)
        name = f"{TRAINED}_sync"
        next((folder / "data_depth_annotated").rglob(name)).rename(
            folder / "data_depth_annotated" / part / name
        )
        torch.testing.assert_close(whole(folder).read(0), expected, rtol=0, atol=0, equal_nan=True)


def test_depth_is_in_meters_and_unknown_where_the_laser_saw_nothing(folder):
    depth = whole(folder).read(0)["depth"][0]
    truth = trees.ramp(375, 1242)
    assert depth[::4, ::3].numpy() == pytest.approx(truth[::4, ::3], abs=1 / 256)
    assert depth.isnan().float().mean() > 0.9 and depth[1].isnan().all()


def test_the_crop_is_at_the_bottom_and_in_the_middle_of_image_and_truth(folder):
    all_of_it, part = whole(folder).read(0), Kitti(folder).read(0)
    assert part["image"].shape == (3, 352, 1216)
    for name in ("image", "depth"):
        inside = all_of_it[name][:, 375 - 352 :, 13 : 13 + 1216]
        torch.testing.assert_close(part[name], inside, rtol=0, atol=0, equal_nan=True)
    assert part["frame"].tolist() == [375, 1242, 23, 13]
    assert all_of_it["frame"].tolist() == [375, 1242, 0, 0]


def test_the_crop_of_every_day_fits(folder):
    source = Kitti(folder)
    frames = {tuple(source.read(index, {"frame"})["frame"].tolist()) for index in range(4)}
    assert frames == {(375, 1242, 23, 13), (370, 1224, 18, 4)}


def test_what_should_be_there_is_known(folder):
    train, test = Kitti(folder), Kitti(folder, "test")
    assert (len(train), train.expected) == (4, 23_158)
    assert (len(test), test.expected, test.without_truth) == (4, 652, 45)
    assert len(test.missing) == 2 * (652 - 4)
    assert len([name for name in train.missing if name.endswith("*.png")]) == 31


def test_a_frame_without_its_image_is_missing(tmp_path):
    folder = small(tmp_path)
    (folder / IMAGE.format(TESTED, 6)).unlink()
    test = whole(folder, "test")
    assert len(test) == 1 and IMAGE.format(TESTED, 6) in test.missing


def test_jpegs_count_too(tmp_path):
    source = whole(small(tmp_path, suffix=".jpg"))
    assert source.names == [f"{TRAINED}_sync/image_02/data/0000000005.jpg"]


def test_drives_may_be_held_out(tmp_path, monkeypatch):
    drives = (eigen.train_drives()[16], TRAINED)  # the middle one, and the first
    folder = small(tmp_path, train={drive: [5] for drive in drives})
    train, val = whole(folder, val_drives=1), whole(folder, "val", val_drives=1)
    assert not set(train.names) & set(val.names)
    assert sorted([*train.names, *val.names]) == sorted(whole(folder).names)
    assert train.expected + val.expected > len(train) + len(val)  # as frames are missing
    monkeypatch.setattr("sgmim.data.eigen.TRAINED", 2)
    complete = whole(folder, val_drives=2)
    assert complete.expected == len(complete)


@pytest.mark.parametrize("split, count", [("val", 0), ("train", 33), ("train", -1)])
def test_drives_that_cannot_be_held_out_are_refused(folder, split, count):
    with pytest.raises(ConfigurationError, match="val_drives says how many of the 33 drives"):
        whole(folder, split, val_drives=count)


@pytest.mark.parametrize("layout", ["A", "B"])
@pytest.mark.parametrize(
    "line",
    [
        "/2011_09_26/{0}_sync/image_02/data/0000000006.png "
        "/{0}_sync/proj_depth/groundtruth/image_02/0000000006.png",
        "{0}_sync/image_02/data/0000000006.png "
        "{0}_sync/proj_depth/groundtruth/image_02/0000000006.png 721.5377",
    ],
)
def test_published_lists_are_read_in_every_layout(tmp_path, layout, line):
    folder = small(tmp_path, layout)
    path = tmp_path / "list.txt"
    path.write_text(f"{line.format(TESTED)}\n{TESTED}_sync/image_02/data/0000000000.png None 7\n")
    source = whole(folder, "test", files=path)
    assert (len(source), source.expected, source.without_truth) == (1, 652, 1)
    same(source, whole(small(tmp_path / "other"), "test", files=path))


def test_a_list_that_names_missing_files_is_refused(folder, tmp_path):
    (tmp_path / "list.txt").write_text("a/b.png c/d.png\n")
    with pytest.raises(DataError, match=r"2 of the 2 files .*list.txt.*: a/b.png, c/d.png"):
        whole(folder, files=tmp_path / "list.txt")


def test_a_picture_of_depth_is_no_depth(tmp_path):
    folder = small(tmp_path)
    path = folder / TRUTH.format(TRAINED, 5)
    trees.save(path, np.full((36, 60), 9, np.uint8))
    with pytest.raises(DataError, match=r"0000000005.png has 1 channels of 8 bits; depth is kept"):
        whole(folder).read(0)


def test_truth_of_another_size_is_refused(tmp_path):
    folder = small(tmp_path)
    trees.save(folder / TRUTH.format(TRAINED, 5), np.ones((36, 58), np.uint16))
    with pytest.raises(DataError, match=r"0005.png is 36 x 60 pixels, but its depth is 36 x 58"):
        whole(folder).read(0)


def test_images_smaller_than_the_crop_are_refused(tmp_path):
    folder = small(tmp_path)
    with pytest.raises(DataError, match=r"36 x 60 pixels, smaller than .* ask for crop 'none'"):
        Kitti(folder).read(0)


def test_truth_that_knows_nothing_is_all_unknown(tmp_path):
    folder = small(tmp_path)
    trees.save(folder / TRUTH.format(TRAINED, 5), np.zeros((36, 60), np.uint16))
    assert whole(folder).read(0)["depth"].isnan().all()


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileError, match="no folder"):
        Kitti(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no sample of KITTI's split 'test' in .*: raw_data/2011"):
        Kitti(tmp_path, "test")
    with pytest.raises(ConfigurationError, match="did you mean 'test'"):
        Kitti(tmp_path, "tests")
