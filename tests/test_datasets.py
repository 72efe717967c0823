import inspect
import pickle
from pathlib import Path

import pytest

import trees
from sgmim.contamination import benchmark
from sgmim.data.datasets.base import Dataset
from sgmim.data.images import Source
from sgmim.datasets import ROOM, open_dataset, read_description, shortfall
from sgmim.errors import ConfigurationError, FileError
from sgmim.options import contents
from sgmim.sources import make_source

READERS = contents(ROOM)


@pytest.fixture
def folder(tmp_path):
    trees.camvid(tmp_path)
    return tmp_path


def ade(folder, **options):
    return make_source(dataset="ade20k", root=trees.ade20k(folder), **options)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_what_it_is_of_and_what_its_options_are(name):
    reader = READERS[name]
    assert issubclass(reader, Dataset) and reader.benchmark == name
    for said in (reader.title, reader.license, reader.origin, reader.splits, reader.truth):
        assert said
    root, split, *options = list(inspect.signature(reader).parameters.values())
    assert (root.name, split.name) == ("root", "split")
    for option in options:
        assert option.kind is option.KEYWORD_ONLY and f"{option.name}:" in reader.__doc__


def test_a_dataset_is_a_source_that_processes_can_be_given(tmp_path):
    source = ade(tmp_path)
    assert isinstance(source, Source) and source.read(0, {"classes"}).keys() == {"classes"}
    assert pickle.loads(pickle.dumps(source)).names == source.names


def test_what_is_made_of_a_dataset_says_what_it_is_of(tmp_path):
    part = ade(tmp_path, count=2, short_side=32, field_of_view=60.0)
    assert (len(part), part.expected, len(part.classes)) == (2, 20_210, 150)
    assert part.benchmark == "ade20k" and benchmark(part, None) == "ade20k"
    assert part.read(0)["classes"].shape == (1, 32, 43)
    assert benchmark(make_source(scenes=1), "nyu") == "nyu"


def test_a_part_is_told_to_be_one(tmp_path, folder):
    assert "4 samples; the whole split has 20,210" in shortfall(ade(tmp_path))[0]
    whole = make_source(dataset=str(folder / "camvid.yaml"), root=folder, split="val")
    assert shortfall(whole) == shortfall(make_source(scenes=3)) == []
    assert (
        "1 samples; the whole split has 2"
        in shortfall(
            make_source(dataset=str(folder / "camvid.yaml"), root=folder, split="val", count=1)
        )[0]
    )


def test_options_are_the_readers_own(tmp_path):
    root = trees.kitti(tmp_path, train={"2011_09_26_drive_0001": [5]}, test={}, size=(36, 60))
    source = open_dataset("kitti", root, "train", {"crop": "none", "val_drives": 2})
    assert source.read(0, {"frame"})["frame"].tolist() == [36, 60, 0, 0]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"dataset": "kiti"}, r"no dataset 'kiti' \(did you mean 'kitti'\?\)"),
        ({"dataset": "kitti", "options": {"crops": "none"}}, "did you mean '--crop'"),
        ({"dataset": "kitti", "options": {"crop": "some"}}, "--crop takes kb or none, not some"),
        ({"dataset": "kitti", "options": {"val_drives": "x"}}, "--val_drives takes a whole"),
        ({"dataset": "kitti", "root": None}, "where is kitti"),
        ({"dataset": "kitti", "images": Path("x")}, "images and dataset are given"),
        ({"options": {"crop": "kb"}}, "options are those of a dataset"),
        ({"center": 0, "short_side": 8, "root": None}, "a square of 0 pixels"),
        ({}, "root goes with a dataset"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, options, said):
    with pytest.raises(ConfigurationError, match=said):
        make_source(**{"root": tmp_path, "scenes": 2} | options)


def written(folder, text):
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def test_a_description_is_read(folder):
    told = read_description(folder / "camvid.yaml")
    assert told.labels.ignore == (11,) and told.splits["val"].count == 2
    assert told.classes[0] == "Sky" and len(told.classes) == 11 and told.depth is None


def test_colors_and_shares_are_read_from_yaml(tmp_path):
    path = written(tmp_path, """
name: mine
images: rgb
labels: {folder: ids, colors: {sky: [[0, 0, 255], [0, 0, 128]], road: [[9, 9, 9]]}}
splits: {train: {part: [0, 0.7]}, val: {part: [0.7, 1], list: some.txt}}
""")  # fmt: skip
    told = read_description(path)
    assert told.labels.colors["sky"] == ((0, 0, 255), (0, 0, 128))
    assert told.splits["val"].part == (0.7, 1.0) and told.names == ("sky", "road")


@pytest.mark.parametrize(
    "change, said",
    [
        (("name: CamVid", "nam: CamVid"), r"camvid.yaml has no nam \(did you mean 'name'\?\)"),
        (("name: CamVid", ""), "does not describe a dataset: .*name"),
        (("count: 3", "count: three"), r"camvid.yaml.splits.train.count takes .*, not three"),
        (("ignore: [11]", "ignore: 11"), r"labels.ignore takes"),
        (("folder:", "fodler:"), r"labels has no fodler \(did you mean 'folder'\?\)"),
        (("labels: {", "classes: {"), "camvid.yaml"),
        (("name: CamVid", "name: !!python/object/apply:os.getcwd []"), "is no YAML"),
        (("name: CamVid", "class_path: os.system"), "has no class_path"),
        (("license:", "license: ["), "is no YAML"),
    ],
)
def test_a_description_that_cannot_be_understood_is_refused(folder, change, said):
    path = folder / "camvid.yaml"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ConfigurationError, match=said):
        read_description(path)


def test_a_description_that_is_none_is_refused(tmp_path):
    for text in ("", "[1, 2]", "only words"):
        with pytest.raises(ConfigurationError, match=r"mine\.yaml"):
            read_description(written(tmp_path, text))
    with pytest.raises(FileError, match="no description"):
        read_description(tmp_path / "gone.yaml")


def test_a_description_has_no_options(folder):
    with pytest.raises(ConfigurationError, match="has no options"):
        open_dataset(str(folder / "camvid.yaml"), folder, "train", {"crop": "kb"})


def test_the_examples_in_the_documentation_can_be_read(tmp_path):
    text = (Path(__file__).parents[1] / "docs/datasets.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    names = [read_description(written(tmp_path, example)).name for example in examples]
    assert names == ["CamVid", "TUM RGB-D, freiburg1_rpy", "streets"]
