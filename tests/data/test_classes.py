import pytest
import torch
from torchvision.datasets import ImageFolder

import trees
from sgmim.data.batches import Batches, in_order
from sgmim.data.classes import check_same
from sgmim.data.images import Source
from sgmim.data.packing import pack
from sgmim.errors import ConfigurationError, DataError
from sgmim.methods.simmim import SimMIM
from sgmim.objective import Objective
from sgmim.sources import make_source

COUNTS = {"dog": 3, "Cat": 2, "bird": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trees.in_folders(tmp_path_factory.mktemp("classes"), **COUNTS)


@pytest.fixture
def source(folder):
    return make_source(images=folder, labels="folders")


def labels(source):
    return [int(source.read(index)["label"]) for index in range(len(source))]


def test_classes_are_those_of_torchvisions_folders(folder, source):
    theirs = ImageFolder(folder)
    assert list(source.classes) == theirs.classes == ["Cat", "bird", "dog"]
    told = dict(zip(source.names, labels(source), strict=True))
    assert told == {path.removeprefix(f"{folder}/"): number for path, number in theirs.imgs}


def test_it_is_a_source_with_labels(source):
    assert isinstance(source, Source) and source.has == {"image", "label"}
    assert source.read(0, {"label"}).keys() == {"label"}
    assert source.read(0, {"image"}).keys() == {"image"}
    label = source.read(8)["label"]
    assert (label.dtype, label.shape, int(label)) == (torch.int64, (), 2)


def test_deeper_folders_do_not_matter(tmp_path):
    trees.in_folders(tmp_path / "cat", paws=2, tails=1)
    trees.in_folders(tmp_path, dog=1)
    assert labels(make_source(images=tmp_path, labels="folders")) == [0, 0, 0, 1]


def test_a_part_is_that_of_each_class_and_parts_make_the_whole(folder, source):
    train, test = (
        make_source(images=folder, labels="folders", part=part) for part in ((0.0, 0.5), (0.5, 1.0))
    )
    assert labels(train) == [0, 1, 1, 2, 2] and labels(test) == [0, 1, 1, 2]
    assert train.classes == test.classes == ("Cat", "bird", "dog")
    assert sorted([*train.names, *test.names]) == list(source.names)
    few = make_source(images=folder, labels="folders", part=(0.5, 1.0), count=2)
    assert list(few.names) == [test.names[0], test.names[2]]


def test_shards_keep_the_folders_and_so_the_labels(folder, source, tmp_path):
    for _ in pack(folder, tmp_path / "packed", workers=0):
        pass
    packed = make_source(shards=str(tmp_path / "packed"), labels="folders")
    assert labels(packed) == labels(source) and packed.classes == source.classes


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_flips_colors_and_workers_leave_labels_alone(source, workers):
    batches = Batches(
        source, size=(8, 8), batch=4, needs=("image", "label"), vertical_flip=0.5,
        colors="moco_first", workers=workers,
    )  # fmt: skip
    for batch, _ in zip(batches(), range(3), strict=False):
        assert batch["label"].dtype == torch.int64 and batch["image"].shape == (4, 3, 8, 8)
        assert batch["label"].tolist() == [labels(source)[i] for i in batch["index"]]


def test_resizing_and_evaluation_leave_labels_alone(folder, source):
    sized = make_source(images=folder, labels="folders", short_side=12, center=8)
    for one in (sized, source):
        told = [batch["label"] for batch in in_order(one, needs=("label",), batch=2)]
        assert torch.cat(told).tolist() == labels(source)


def test_images_outside_of_folders_have_no_class(tmp_path):
    trees.in_folders(tmp_path, cat=1, dog=1)
    trees.save(tmp_path / "stray.jpg", trees.colored(8, 8))
    with pytest.raises(DataError, match=r"stray.jpg is in no folder"):
        make_source(images=tmp_path, labels="folders")


def test_one_folder_tells_nothing_apart(tmp_path):
    trees.in_folders(tmp_path / "train", cat=1, dog=1)
    with pytest.raises(DataError, match=r"all 2 images are in the folder train, .* give train"):
        make_source(images=tmp_path, labels="folders")


def test_labels_without_folders_are_refused():
    with pytest.raises(ConfigurationError, match="read from the folders"):
        make_source(scenes=2, labels="folders")


def test_what_needs_labels_says_how_to_give_them():
    class Classifying(SimMIM):
        needs = ("image", "label")

    with pytest.raises(ConfigurationError, match=r"--test.labels folders; or .* imagenet"):
        Objective.check(Classifying.__new__(Classifying), {"image"}, "test")


def test_tests_on_other_classes_are_refused(source):
    check_same(source.classes, source.classes)
    check_same(source.classes, ())
    with pytest.raises(DataError, match=r"3 classes .* the 2 .* only in one of both: Cat, bi"):
        check_same(source.classes, ("cat", "dog"))
    with pytest.raises(DataError, match="another order"):
        check_same(source.classes, source.classes[::-1])
