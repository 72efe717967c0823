import json

import numpy as np
import pytest
import torch

import trees
from sgmim.data.datasets.cifar10 import Cifar10
from sgmim.data.datasets.cifar100 import Cifar100
from sgmim.errors import DataError
from shell import sgmim


def test_the_binary_version_is_read_picture_by_picture(tmp_path):
    told = trees.cifar_binary(tmp_path)
    for split, files in (("train", sorted(told)[:5]), ("test", ["test_batch.bin"])):
        source = Cifar10(tmp_path, split)
        pixels = np.concatenate([told[name][0] for name in files])
        labels = [label for name in files for label in told[name][1]]
        assert [int(source.read(i)["label"]) for i in range(len(source))] == labels
        for index in range(len(source)):
            assert torch.equal(source.read(index)["image"], torch.from_numpy(pixels[index]))


def test_the_fine_label_of_a_hundred_classes_is_the_class(tmp_path):
    told = trees.cifar_binary(tmp_path / "cifar-100-binary", coarse=True)  # as it is unpacked
    source = Cifar100(tmp_path, "test")
    assert [int(source.read(i)["label"]) for i in range(3)] == told["test.bin"][1]
    assert source.classes[0] == "apple" and len(set(source.classes)) == 100


def test_packed_pictures_are_read_and_val_is_a_name_of_test(tmp_path):
    trees.packed_pictures(tmp_path / "train3.npz", [2, 0, 1])
    trees.packed_pictures(tmp_path / "val.npz", [1, 1])
    (tmp_path / "classes.json").write_text(json.dumps(["a", "b", "c"]))
    train, test = Cifar10(tmp_path), Cifar10(tmp_path, "test")
    assert [int(train.read(i)["label"]) for i in range(3)] == [2, 0, 1]
    assert (len(test), test.classes, test.expected) == (2, ("a", "b", "c"), 10_000)
    picture = torch.from_numpy(trees.colored(32, 32, 1)).permute(2, 0, 1)
    assert torch.equal(test.read(1)["image"], picture)


def test_records_that_are_cut_off_are_named(tmp_path):
    trees.cifar_binary(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin has 9218 bytes, .* records of 3073"):
        Cifar10(tmp_path)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"labels": np.array([0, 10])}, "2 labels from 0 to 10, of 10 classes"),
        ({"offsets": np.array([0, 9])}, "2 labels, 2 offsets and"),
        ({"offsets": np.array([0, 9, 10**9])}, "do not go together"),
        ({"bytes": np.array([{}])}, "train.npz cannot be read"),  # an object would be unpickled
    ],
)
def test_packed_files_that_are_damaged_are_refused(tmp_path, change, said):
    path = trees.packed_pictures(tmp_path / "train.npz", [0, 1])
    with np.load(path) as arrays:
        told = dict(arrays)
    np.savez(path, **told | change)
    with pytest.raises(DataError, match=said):
        Cifar10(tmp_path)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    path = trees.packed_pictures(tmp_path / "train.npz", [0, 1])
    with np.load(path) as arrays:
        told = dict(arrays)
    told["bytes"][told["offsets"][1] :] = 0
    np.savez(path, **told)
    source = Cifar10(tmp_path)
    assert source.read(0)["image"].shape == (3, 32, 32)
    with pytest.raises(DataError, match=r"train/00001.png cannot be read: it is neither"):
        source.read(1)


def test_an_empty_folder_says_where_it_is_to_be_had(tmp_path):
    with pytest.raises(DataError, match=r"neither train.bin .* nor train\*.npz; CIFAR-100 is"):
        Cifar100(tmp_path)


def test_a_check_tells_what_is_there(tmp_path, capsys):
    trees.cifar_binary(tmp_path)
    assert sgmim("data", "check", "cifar10", tmp_path) == 65  # it is not whole
    said = capsys.readouterr().out
    assert "15 of 50,000 samples" in said and "8 read: 32 x 32 pixels, a label each, " in said
