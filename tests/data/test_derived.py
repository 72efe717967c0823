import pytest
import torch

from sgmim.data.derived import Exchanged, Sized, Subset, WithCamera, WithMap
from sgmim.data.images import Source
from sgmim.data.live import Live
from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError, DataError


class Numbers:
    """Sample i is a picture and a depth map full of i; `wide` ones are of another size."""

    def __init__(self, count=10, wide=()):
        self.names, self.has = [f"sample {i}" for i in range(count)], {"image", "depth"}
        self.wide, self.asked = wide, []

    def __len__(self):
        return len(self.names)

    def read(self, index, needs=None):
        self.asked.append((index, needs))
        size = (4, 6 if index in self.wide else 4)
        sample = {
            "image": torch.full((3, *size), index, dtype=torch.uint8),
            "depth": torch.full((1, *size), float(index)),
        }
        return {name: value for name, value in sample.items() if needs is None or name in needs}


def numbers(source, name="depth"):
    return [int(source.read(index)[name].mean(dtype=torch.float)) for index in range(len(source))]


def test_they_are_sources_themselves():
    for source in (
        Subset(Numbers()),
        WithMap(Numbers(), "grey", Live(lambda image: image[:, :1])),
        WithCamera(Numbers()),
        Exchanged(Numbers(), "depth"),
        Sized(Numbers(), 8),
    ):
        assert isinstance(source, Source)
        assert len(source) == len(source.names) == 10


@pytest.mark.parametrize(
    "options, indices",
    [
        ({}, list(range(10))),
        ({"part": (0.7, 1.0)}, [7, 8, 9]),
        ({"part": (0.0, 0.5)}, [0, 1, 2, 3, 4]),
        ({"count": 5}, [0, 2, 4, 6, 8]),
        ({"count": 10}, list(range(10))),
        ({"part": (0.5, 1.0), "count": 2}, [5, 7]),
        ({"count": 1}, [0]),
    ],
)
def test_a_subset_has_what_was_asked_for_under_its_name(options, indices):
    subset = Subset(Numbers(), **options)
    assert numbers(subset) == indices
    assert list(subset.names) == [f"sample {index}" for index in indices]
    assert subset.has == {"image", "depth"}


def test_parts_that_meet_make_up_the_whole():
    parts = [Subset(Numbers(11), part) for part in ((0.0, 0.3), (0.3, 0.85), (0.85, 1.0))]
    assert [number for part in parts for number in numbers(part)] == list(range(11))


@pytest.mark.parametrize(
    "options",
    [
        {"part": (0.5, 0.4)},
        {"part": (-0.1, 1.0)},
        {"part": (0.0, 1.1)},
        {"part": (0.5, 0.51)},
        {"count": 11},
        {"count": 0},
        {"count": -1},
    ],
)
def test_a_subset_that_would_be_empty_or_too_small_is_refused(options):
    with pytest.raises(ConfigurationError):
        Subset(Numbers(), **options)


def test_a_map_is_made_from_the_colors_when_it_is_asked_for():
    made = []

    def grey(image):
        made.append(image)
        return image.mean(dim=1, keepdim=True)

    source = WithMap(Numbers(), "grey", Live(grey))
    assert source.has == {"image", "depth", "grey"}
    assert set(source.read(5, {"image", "depth"})) == {"image", "depth"} and not made
    sample = source.read(5)
    assert set(sample) == {"image", "depth", "grey"}
    assert sample["grey"].shape == (1, 4, 4)
    torch.testing.assert_close(sample["grey"], torch.full((1, 4, 4), 5 / 255))
    assert source.source.asked[-1] == (5, {"image", "depth"})


@pytest.mark.parametrize("count", [2, 3, 10, 11])
def test_exchange_gives_every_image_another_ones_map_and_uses_each_once(count):
    source = Exchanged(Numbers(count), "depth")
    assert numbers(source, "image") == list(range(count))
    assert sorted(numbers(source)) == list(range(count))
    assert all(number != index for index, number in enumerate(numbers(source)))


def test_exchange_reads_no_map_that_is_not_needed():
    source = Exchanged(Numbers(), "depth")
    assert set(source.read(3, {"image"})) == {"image"}
    assert source.source.asked == [(3, {"image"})]


def test_exchange_is_refused_where_there_is_nothing_to_exchange():
    with pytest.raises(ConfigurationError, match=r"no map 'dept' .*did you mean 'depth'"):
        Exchanged(Numbers(), "dept")
    with pytest.raises(ConfigurationError, match="no map 'image'"):
        Exchanged(Numbers(), "image")
    with pytest.raises(ConfigurationError, match="one image has no other"):
        Exchanged(Numbers(1), "depth")


def test_exchange_between_images_of_different_size_is_an_error_that_names_them():
    source = Exchanged(Numbers(10, wide={3}), "depth")
    with pytest.raises(DataError, match="sample 8 and sample 3 are not of one size"):
        source.read(8)


def test_a_camera_is_the_same_for_every_image_or_assumed_for_its_size():
    given = WithCamera(Numbers(), (5.0, 6.0, 2.0, 1.5)).read(3)
    assert given["camera"].tolist() == [5.0, 6.0, 2.0, 1.5]
    assumed = WithCamera(Numbers(), field_of_view=90.0).read(3, {"camera", "depth"})
    torch.testing.assert_close(assumed["camera"], torch.tensor([2.0, 2.0, 2.0, 2.0]))
    assert "camera" not in WithCamera(Numbers()).read(3, {"image"})


@pytest.mark.parametrize(
    "options, told",
    [
        ({"camera": (0.0, 5.0, 2.0, 2.0)}, "focal lengths are above 0"),
        ({"field_of_view": 180.0}, "between 0 and 180 degrees"),
        ({"camera": (5.0, 5.0, 2.0, 2.0), "field_of_view": 60.0}, "both say"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(options, told):
    with pytest.raises(ConfigurationError, match=told):
        WithCamera(Numbers(), **options)


class Room:
    """One picture, twice as wide as high, whose left half is 0 and far, right half 200 and near."""

    names, has = ["room"], {"image", "depth", "frame"}
    expected, classes, benchmark, notes = 7, ("a", "b"), "nyu", {"depth": Note(scale=3.0)}

    def __len__(self):
        return 1

    def read(self, index, needs=None):
        right = torch.arange(40).expand(1, 20, 40) >= 20
        return {
            "image": (200 * right).to(torch.uint8).expand(3, 20, 40),
            "depth": torch.where(right, 1.0, 9.0),
            "frame": torch.tensor([20.0, 40.0, 0.0, 0.0]),
        }


def test_another_size_keeps_the_shape_and_the_middle_is_a_square():
    whole, square = Sized(Room(), 10).read(0), Sized(Room(), 10, 6).read(0)
    assert whole["image"].shape == (3, 10, 20) and square["depth"].shape == (1, 6, 6)
    assert torch.equal(square["image"], whole["image"][:, 2:8, 7:13])
    assert torch.equal(square["depth"], whole["depth"][:, 2:8, 7:13])
    assert square["depth"][0, 0].tolist()[::5] == [9.0, 1.0]
    assert torch.equal(square["frame"], Room().read(0)["frame"])


@pytest.mark.parametrize("short_side, center", [(0, None), (8, 9), (8, 0)])
def test_a_square_that_is_not_inside_is_refused(short_side, center):
    with pytest.raises(ConfigurationError, match="a square of"):
        Sized(Room(), short_side, center)


def test_what_a_source_is_of_is_handed_on():
    for source in (
        Subset(Room()),
        WithMap(Room(), "grey", Live(lambda image: image[:, :1])),
        WithCamera(Room()),
        Sized(Room(), 8),
    ):
        for fact in ("expected", "classes", "benchmark", "notes"):
            assert getattr(source, fact) == getattr(Room(), fact)
