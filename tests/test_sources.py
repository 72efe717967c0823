from pathlib import Path

import pytest
import torch

from sgmim.data.images import Images
from sgmim.data.packing import pack
from sgmim.data.scenes import Scenes
from sgmim.errors import ConfigurationError, FileError
from sgmim.knowledge.edges import edges
from sgmim.sources import completed, make_source
from shell import depth_maps, photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos") / "images")


@pytest.fixture(scope="module")
def depth(tmp_path_factory, photos):
    return depth_maps(tmp_path_factory.mktemp("maps") / "depth", photos)


def test_without_images_there_are_scenes_with_depth():
    source = make_source(scenes=5, scene_size=32, scene_kind="rooms", scene_seed=3)
    assert isinstance(source, Scenes) and len(source) == 5
    expected = Scenes(5, size=32, kind="rooms", seed=3).read(4)
    torch.testing.assert_close(source.read(4), expected, rtol=0, atol=0)


def test_images_go_before_scenes(photos, depth):
    source = make_source(
        images=photos, maps={"depth": depth}, scale={"depth": 1000.0}, hole={"depth": 0.0}
    )
    assert isinstance(source, Images) and len(source) == 6
    known = [source.read(index)["depth"] for index in range(6)]
    assert known[0].isnan().all()
    for values in known[1:]:
        assert values[..., 0].isnan().all()
        assert values[~values.isnan()].min() >= 0.5 and values[~values.isnan()].max() <= 9


def test_shards_go_before_scenes_and_bring_their_maps(photos, depth, tmp_path):
    given = {"maps": {"depth": depth}, "scale": {"depth": 1000.0}, "hole": {"depth": 0.0}}
    for _ in pack(photos, tmp_path / "packed", **given, short_side=0, workers=0):
        pass
    source = make_source(shards=str(tmp_path / "packed"), part=(0.5, 1.0))
    images = make_source(images=photos, **given, part=(0.5, 1.0))
    assert source.has == {"image", "depth"} and list(source.names) == list(images.names)
    for index in range(3):
        one, other = source.read(index)["depth"], images.read(index)["depth"]
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_no_scenes_and_no_images_is_no_data():
    assert make_source(scenes=0) is None


def test_a_part_of_the_data_may_be_taken():
    source = make_source(scenes=10, scene_size=16, part=(0.5, 1.0), count=2)
    whole = make_source(scenes=10, scene_size=16)
    assert list(source.names) == [whole.names[5], whole.names[7]]


def test_live_edges_are_those_of_the_image(photos):
    source = make_source(images=photos, live={"edges": "image"})
    assert source.has == {"image", "edges"}
    sample = source.read(2)
    assert torch.equal(sample["edges"], edges(sample["image"][None] / 255)[0])


def test_an_exchange_is_of_the_part_that_is_taken():
    whole = make_source(scenes=10, scene_size=16)
    source = make_source(scenes=10, scene_size=16, count=5, exchange="depth")
    assert torch.equal(source.read(0)["depth"], whole.read(4)["depth"])


@pytest.mark.parametrize(
    "options, error",
    [
        ({"maps": {}, "scale": {"depth": 2.0}}, ConfigurationError),
        ({"hole": {"depth": 0.0}}, ConfigurationError),
        ({"root": Path(".")}, ConfigurationError),
        ({"shards": "packed", "maps": {}, "hole": {"depth": 0.0}}, ConfigurationError),
        ({"shards": "packed", "images": Path("photos")}, ConfigurationError),
        ({"shards": "no/such/folder"}, FileError),
        ({"count": 0}, ConfigurationError),
        ({"part": (1.0, 0.0)}, ConfigurationError),
        ({"exchange": "edges"}, ConfigurationError),
        ({"images": Path("no/such/folder")}, FileError),
    ],
)
def test_what_does_not_go_together_is_refused(options, error):
    with pytest.raises(error):
        make_source(**{"scenes": 10, "scene_size": 16} | options)


def test_what_is_cheap_and_needed_is_computed_unless_it_is_there(photos, depth):
    source, live = completed(make_source(images=photos), None, ("image", "edges"))
    assert live.names == set(live.device) == {"edges"} and source.has == {"image"}
    made = make_source(images=photos, live={"edges": "image"})
    assert not completed(made, {"edges": "image"}, ("image", "edges"))[1].names
    given = make_source(images=photos, maps={"edges": depth}, scale={"edges": 1.0})
    assert not completed(given, None, ("image", "edges"))[1].names


def test_where_a_map_is_computed_may_be_chosen(photos):
    _, live = completed(make_source(images=photos), {"edges": "crop"}, ("image", "edges"))
    assert set(live.crop) == {"edges"} and not live.device


def test_a_camera_is_assumed_where_one_is_needed(photos):
    source, _ = completed(make_source(images=photos), None, ("image", "camera"))
    assert source.has == {"image", "camera"}
    scenes, _ = completed(make_source(scenes=2, scene_size=16), None, ("image", "camera"))
    assert isinstance(scenes, Scenes)


def test_a_map_that_nothing_computes_is_refused(photos):
    with pytest.raises(ConfigurationError, match=r"no map .*'?edge'?.* edges"):
        make_source(images=photos, live={"edge": "crop"})
