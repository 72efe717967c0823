import numpy as np
import pytest
import torch

import trees
from sgmim.data.described import Described
from sgmim.data.descriptions import Depth, Description, Labels, Split
from sgmim.errors import ConfigurationError, DataError, FileError

LABELS = np.arange(64)[None].repeat(48, 0) * 12 // 64  # as in trees.camvid: columns of 0 to 11


@pytest.fixture
def folder(tmp_path):
    trees.camvid(tmp_path)
    return tmp_path


def described(root, split="train", *, labels=None, splits=None, classes=11, **more):
    told = Description(
        name="mine",
        images=more.pop("images", "{split}/images"),
        splits=splits or {"train": Split(), "val": Split()},
        labels=labels or Labels("{split}/labels", ignore=(11,)),
        classes=tuple(f"class {number}" for number in range(classes)),
        **more,
    )
    return Described(told, root, split)


def test_labels_are_classes_and_those_to_ignore_are_unknown(folder):
    sample = described(folder).read(0)
    classes, expected = sample["classes"][0], torch.from_numpy(LABELS)
    assert torch.equal(classes.isnan(), expected == 11)
    assert torch.equal(classes[expected < 11], expected[expected < 11].float())
    assert sample["image"].shape == (3, 48, 64)


def test_a_label_above_the_classes_is_refused_with_its_file(folder):
    source = described(folder, labels=Labels("{split}/labels"))
    with pytest.raises(DataError, match=r"labels/0000.png has the label 11; 11 classes have the"):
        source.read(0)


def test_the_first_class_may_have_another_label_than_0(folder):
    labels = Labels("{split}/labels", first=1)
    classes = described(folder, labels=labels).read(0)["classes"][0]
    assert classes[:, LABELS[0] == 0].isnan().all()
    assert (classes[:, LABELS[0] == 5] == 4).all()


def test_colors_stand_for_classes_and_others_for_none(folder):
    colors = {"sky": ((0, 0, 255), (0, 0, 128)), "road": ((128, 64, 128),)}
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:10], picture[10:20], picture[20:30] = (0, 0, 255), (0, 0, 128), (128, 64, 128)
    trees.save(folder / "train/labels/0000.png", picture)
    told = Description("mine", "{split}/images", {"train": Split()},
                       Labels("{split}/labels", colors=colors))  # fmt: skip
    source = Described(told, folder, "train")
    classes = source.read(0)["classes"][0]
    assert source.classes == ("sky", "road")
    assert (classes[:20] == 0).all() and (classes[20:30] == 1).all() and classes[30:].isnan().all()


def test_depth_is_a_number_by_its_scale_with_holes(tmp_path):
    trees.sensor(tmp_path)
    told = Description("mine", "rgb", {"all": Split()}, depth=Depth("depth", scale=500.0))
    depth = Described(told, tmp_path, "all").read(0)["depth"][0]
    assert depth[:, :8].isnan().all()
    assert depth[-1, -1] == pytest.approx(1.0) and depth[0, -1] == pytest.approx(16.0)


def test_a_split_is_a_folder_a_list_or_a_share(folder):
    (folder / "few.txt").write_text("0002.jpg\n0000\n\n")
    (folder / "pairs.txt").write_text("0001.jpg val/labels/0001.png 7\n0000.jpg None\n")
    splits = {
        "val": Split(),
        "few": Split(folder="train", list="few.txt"),
        "pairs": Split(folder="train", pairs="pairs.txt"),
        "early": Split(folder="train", part=(0.0, 0.7)),
        "late": Split(folder="train", part=(0.7, 1.0)),
    }
    names = {split: list(described(folder, split, splits=splits).names) for split in splits}
    assert names == {
        "val": ["val/images/0000.jpg", "val/images/0001.jpg"],
        "few": ["train/images/0002.jpg", "train/images/0000.jpg"],
        "pairs": ["train/images/0001.jpg"],
        "early": ["train/images/0000.jpg", "train/images/0001.jpg"],
        "late": ["train/images/0002.jpg"],
    }


def test_names_may_have_endings(tmp_path):
    trees.save(tmp_path / "a/x/1_left.png", trees.colored(8, 8))
    trees.save(tmp_path / "b/x/1_ids.png", np.zeros((8, 8), np.uint8))
    trees.save(tmp_path / "b/x/1_color.png", trees.colored(8, 8))
    labels = Labels("b", ending="_ids")
    source = described(tmp_path, images="a", ending="_left", labels=labels)
    assert source.pairs == [("a/x/1_left.png", "b/x/1_ids.png")]


def test_what_is_missing_is_named_and_what_should_be_there_is_known(folder):
    (folder / "train/labels/0001.png").unlink()
    (folder / "few.txt").write_text("0000\n0007\n")
    splits = {"train": Split(count=3), "few": Split(folder="train", list="few.txt")}
    source = described(folder, splits=splits)
    assert (len(source), source.expected, source.missing) == (2, 3, ["truth of 0001"])
    assert described(folder, "few", splits=splits).missing == ["image of 0007"]


@pytest.mark.parametrize(
    "told, said",
    [
        ({"splits": {"val": Split()}}, "no split of mine 'train'"),
        ({"images": "gone"}, "no folder .*gone"),
        ({"labels": Labels("gone")}, "no folder .*gone"),
        ({"splits": {"train": Split(list="gone.txt")}}, "no list .*gone.txt"),
    ],
)
def test_what_is_not_there_is_refused(folder, told, said):
    with pytest.raises((ConfigurationError, FileError), match=said):
        described(folder, **told)


def test_a_share_is_of_all_images_whatever_is_missing(folder):
    """So nothing that was to be tested on is trained on where a file is lost."""
    (folder / "train/labels/0001.png").unlink()
    splits = {
        "early": Split(folder="train", part=(0.0, 0.7)),
        "late": Split(folder="train", part=(0.7, 1.0)),
    }
    assert described(folder, "early", splits=splits).names == ["train/images/0000.jpg"]
    assert described(folder, "late", splits=splits).names == ["train/images/0002.jpg"]


def test_two_images_of_one_name_are_refused(folder):
    trees.save(folder / "train/images/0000.png", trees.colored(48, 64))
    with pytest.raises(DataError, match=r"two files in .* are called 0000"):
        described(folder)


@pytest.mark.parametrize(
    "told, said",
    [
        ({}, "either labels or depth"),
        ({"labels": Labels("x"), "depth": Depth("x")}, "either labels or depth"),
        ({"labels": Labels("x")}, "names of their classes"),
        ({"depth": Depth("../x")}, "'../x' leads out"),
        ({"depth": Depth("x"), "images": "/x"}, "'/x' leads out"),
        ({"depth": Depth("x"), "splits": {"a": Split(list="a/../../b")}}, "leads out"),
        (
            {"labels": Labels("x", colors={"sky": ((0, 0, 0),)}), "classes": ("road",)},
            "other classes",
        ),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(told, said):
    with pytest.raises(ConfigurationError, match=said):
        Description(**{"name": "mine", "images": "x", "splits": {}} | told)


@pytest.mark.parametrize(
    "kind, told, said",
    [
        (Depth, {"folder": "x", "scale": 0.0}, "above zero"),
        (Split, {"part": (0.5, 0.5)}, "a part is two shares"),
        (Labels, {"folder": "x", "ignore": (256,)}, "numbers from 0 to 255"),
        (Labels, {"folder": "x", "colors": {"sky": ((0, 0, -1),)}}, "numbers from 0 to 255"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(kind, told, said):
    with pytest.raises(ConfigurationError, match=said):
        kind(**told)


def test_a_picture_in_colors_is_no_depth(tmp_path):
    trees.sensor(tmp_path)
    trees.save(tmp_path / "depth/0000.png", trees.colored(48, 64))
    told = Description("mine", "rgb", {"all": Split()}, depth=Depth("depth"))
    with pytest.raises(DataError, match=r"depth/0000.png has 3 channels; depth has one"):
        Described(told, tmp_path, "all").read(0)
