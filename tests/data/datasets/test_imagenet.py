import pytest

import trees
from sgmim.data.datasets.imagenet import ImageNet
from sgmim.errors import DataError, FileError

TOP = "ILSVRC/Data/CLS-LOC"


def labels(source):
    return {
        name.rpartition("/")[2]: int(source.read(index)["label"])
        for index, name in enumerate(source.names)
    }


@pytest.mark.parametrize("inside", [TOP, "Data/CLS-LOC", ""])
def test_folders_of_wordnet_are_classes_wherever_they_begin(tmp_path, inside):
    root = trees.imagenet(tmp_path, inside=inside)
    train, val = ImageNet(root), ImageNet(root, "val")
    assert train.classes == val.classes == ("tench", "goldfish", "great white shark")
    assert list(labels(train).values()) == [0, 0, 0, 1, 1, 2]
    assert labels(val) == {f"ILSVRC2012_val_{3 - n:08d}.JPEG": n for n in range(3)}
    assert (train.expected, val.expected) == (1_281_167, 50_000)
    assert train.read(0)["image"].shape == (3, 16, 20)


@pytest.mark.parametrize(
    "name, lines",
    [
        ("val.txt", ["{}1.JPEG 2", "{}2.JPEG 0", "{}3.JPEG 1"]),
        ("val.txt", ["{}1.JPEG n01484850", "{}2.JPEG n01440764", "{}3.JPEG n01443537"]),
        (
            "LOC_val_solution.csv",
            ["ImageId,PredictionString", "{}1,n01484850 85 1 499 272", "{}3,n01443537 1 2 3 4",
             "{}2,n01440764 5 6 7 8 n01440764 9 9 12 12"],
        ),
    ],
)  # fmt: skip
def test_a_flat_folder_has_its_classes_in_a_list(tmp_path, name, lines):
    root = trees.imagenet(tmp_path, flat=True)
    (root / name).write_text("\n".join(lines).format(*3 * ["ILSVRC2012_val_0000000"]))
    assert list(labels(ImageNet(root, "val")).values()) == [2, 0, 1]


def test_a_flat_folder_without_a_list_says_how_to_arrange_it(tmp_path):
    with pytest.raises(DataError, match=r"no val.txt or LOC_val_solution.csv .* move every image"):
        ImageNet(trees.imagenet(tmp_path, flat=True), "val")


def test_a_list_that_does_not_name_an_image_is_refused(tmp_path):
    root = trees.imagenet(tmp_path, flat=True)
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 0\n")
    with pytest.raises(DataError, match=r"val_00000002.JPEG that its class is ''"):
        ImageNet(root, "val")


def test_a_number_beyond_the_classes_is_refused(tmp_path):
    root = trees.imagenet(tmp_path, flat=True)
    lines = [f"ILSVRC2012_val_0000000{number}.JPEG {number}\n" for number in (1, 2, 3)]
    (root / "val.txt").write_text("".join(lines))
    with pytest.raises(DataError, match="3 labels from 1 to 3, of 3 classes"):
        ImageNet(root, "val")


def test_no_images_is_told(tmp_path):
    with pytest.raises((DataError, FileError), match="train"):
        ImageNet(tmp_path)
