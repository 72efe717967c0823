import numpy as np
import pytest
import torch

import trees
from sgmim.data.datasets.ade20k import Ade20k
from sgmim.errors import DataError

TOP = "ADEChallengeData2016"


@pytest.fixture
def folder(tmp_path):
    return trees.ade20k(tmp_path)


def truth(folder, labels):
    path = folder / TOP / "annotations/validation/ADE_val_00000001.png"
    trees.save(path, np.asarray(labels, np.uint8).reshape(48, 64))
    return Ade20k(folder, "val")


def test_label_zero_is_no_class_and_the_others_are_one_less(folder):
    classes = Ade20k(folder).read(0)["classes"]
    labels = torch.arange(48 * 64).reshape(1, 48, 64) * 151 // (48 * 64)
    assert torch.equal(classes.isnan(), labels == 0)
    assert torch.equal(classes[labels > 0], labels[labels > 0].float() - 1)
    assert classes[labels > 0].max() == 149


def test_label_255_stays_no_class(folder):
    labels = np.full((48, 64), 7)
    labels[0] = 255
    classes = truth(folder, labels).read(0)["classes"]
    assert classes[0, 0].isnan().all() and (classes[0, 1:] == 6).all()


@pytest.mark.parametrize("label", [151, 254])
def test_a_label_above_the_classes_is_refused_with_its_file(folder, label):
    with pytest.raises(DataError, match=rf"ADE_val_00000001.png has the label {label}; 150 class"):
        truth(folder, np.full((48, 64), label)).read(0)


def test_a_truth_that_knows_nothing_is_all_unknown(folder):
    assert truth(folder, np.zeros((48, 64))).read(0)["classes"].isnan().all()


def test_grey_images_and_those_of_four_inks_are_colored(folder):
    source = Ade20k(folder)
    for index, name in enumerate(source.names):
        image = source.read(index)["image"]
        assert image.shape == (3, 48, 64), name
        assert torch.equal(image[0], image[1]) == (index == 1)
    inks, picture = source.read(2)["image"], trees.colored(48, 64, 3)
    assert np.abs(inks.permute(1, 2, 0).numpy().astype(int) - picture).mean() < 12


def test_there_are_150_classes_and_counts_are_known(folder):
    train, val = Ade20k(folder), Ade20k(folder, "val")
    assert len(set(train.classes)) == 150
    assert (train.classes[0], train.classes[-1]) == ("wall", "flag")
    assert (len(train), train.expected, len(val), val.expected) == (4, 20_210, 2, 2_000)


def test_the_folder_itself_may_be_given(folder):
    one, other = Ade20k(folder).read(0), Ade20k(folder / TOP).read(0)
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_an_image_without_labels_and_labels_without_an_image_are_missing(folder):
    (folder / TOP / "images/training/ADE_train_00000001.jpg").unlink()
    (folder / TOP / "annotations/training/ADE_train_00000002.png").unlink()
    source = Ade20k(folder)
    assert len(source) == 2
    assert source.missing == [
        f"{TOP}/images/training/ADE_train_00000001.jpg",
        f"{TOP}/annotations/training/ADE_train_00000002.png",
    ]


def test_colored_labels_are_no_labels(folder):
    path = folder / TOP / "annotations/training/ADE_train_00000001.png"
    trees.save(path, trees.colored(48, 64))
    with pytest.raises(DataError, match=r"ADE_train_00000001.png has 3 channels"):
        Ade20k(folder).read(0)
