"""Pairs of photographs of one scene: lists, stereo cameras, videos; and what is none."""

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.batches import Batches
from sgmim.data.packing import pack
from sgmim.data.pairs import Pairs
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.sources import make_source


def photo(path, number, size=(20, 30)):
    """A photograph in the color of its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), number, np.uint8)).save(path)
    return path


def numbers(pairs):
    """Which photographs are paired, by their numbers."""
    samples = [pairs.read(index, {"image", "second"}) for index in range(len(pairs))]
    return [tuple(int(sample[n][0, 0, 0]) for n in ("image", "second")) for sample in samples]


@pytest.fixture
def photos(tmp_path):
    for number in range(1, 5):
        photo(tmp_path / "photos" / f"{number} a.png", number)
        photo(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def kitti(tmp_path):
    for drive in ("monday", "tuesday"):
        for number in (1, 2):
            first = photo(tmp_path / "kitti" / drive / "image_2" / f"{number}.png", number)
            photo(tmp_path / "kitti" / drive / "image_3" / first.name, 10 + number, size=(24, 32))
            depth = tmp_path / "depth" / drive / "image_2" / first.name
            depth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 30), 256 * number, np.uint16)).save(depth)
    return tmp_path / "kitti"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.csv", "first,second\n1 a.png, 2.png\n3.png,./4.png\n3.png,1.png\n"),
        ("pairs.txt", "1.png 2.png\n\n3.png\t4.png\n3.png  1.png\n"),
    ],
)
def test_a_list_names_two_photographs_a_line(photos, name, text):
    (photos / name).write_text(text)
    assert numbers(make_source(pairs=photos / name)) == [(1, 2), (3, 4), (3, 1)]


def test_the_paths_of_a_list_do_not_lead_out_of_its_root(photos):
    inside = photos / "lists" / "pairs.csv"
    inside.parent.mkdir()
    inside.write_text("../1.png,../2.png\n")
    with pytest.raises(DataError, match="leads out of"):
        make_source(pairs=inside)
    inside.write_text("1.png,2.png\n")
    assert numbers(make_source(pairs=inside, root=photos)) == [(1, 2)]


def test_two_cameras_are_paired_by_the_names_of_their_photographs(kitti):
    source = make_source(
        pairs=kitti, maps={"depth": kitti.parent / "depth"}, scale={"depth": 256.0}
    )
    assert numbers(source) == [(1, 11), (2, 12)] * 2
    sample = source.read(1)
    assert sample["second"].shape == (3, 24, 32)
    assert sample["depth"].shape == (1, 20, 30) and (sample["depth"] == 2).all()
    (kitti / "monday" / "image_3" / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 photographs .* monday/image_2/2.png \(no monday/image"):
        make_source(pairs=kitti)


def test_frames_of_a_video_are_paired_in_both_directions_but_never_with_another_s(tmp_path):
    for number in range(8, 16):
        photo(tmp_path / "long" / f"frame {number}.png", number)
        photo(tmp_path / "short" / f"{number}.png", 100 + number)
    photo(tmp_path / "still" / "1.png", 200)
    source = make_source(pairs=tmp_path, gap=3)
    paired = numbers(source)
    assert len(paired) == 16 and {abs(one - other) for one, other in paired} == {3}
    assert {one < other for one, other in paired} == {True, False}
    assert paired[0] == (8, 11) and paired[7][0] == 15  # 8 comes before 10


REFUSED = {
    "itself": ("1.png,1.png\n", DataError, "the same photograph: a pair is two .* two crops"),
    "its copy": ("1.png,1 a.png\n", DataError, "the same photograph"),
    "nothing": ("1.png,9.png\n", DataError, "there is no file .*9.png"),
    "one word": ("1.png,2.png\n3.png\n", DataError, "line 2 of .* holds 1 words"),
    "three": ("1.png,2.png,3.png\n", DataError, "no pairs in"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_photograph_is_no_pair_with(photos, what):
    text, kind, told = REFUSED[what]
    (photos / "pairs.csv").write_text(text)
    with pytest.raises(kind, match=told):
        make_source(pairs=photos / "pairs.csv")


def test_a_copy_that_was_put_there_later_is_found_when_it_is_read(photos):
    (photos / "pairs.csv").write_text("1.png,2.png\n")
    source = Pairs(photos / "pairs.csv")
    photo(photos / "2.png", 1)
    with pytest.raises(DataError, match="the same photograph"):
        source.read(0)


def test_a_folder_of_photographs_is_refused_with_what_there_is_and_what_to_do(photos):
    with pytest.raises(DataError, match=r"only 8 images in 1 folders: \.; give a list .* left/"):
        make_source(pairs=photos)
    with pytest.raises(DataError, match="none with more than 8 frames"):
        make_source(pairs=photos, gap=8)
    with pytest.raises(FileError, match="there is no folder or list of pairs"):
        make_source(pairs=photos / "nowhere")
    with pytest.raises(ConfigurationError, match="is no list of pairs"):
        make_source(pairs=photos / "1.png")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gap": 2}, "gap goes with pairs"),
        ({"pairs": "pairs.csv", "gap": 2}, "gap goes with folders"),
        ({"pairs": "pairs.csv", "gap": -2}, "0 or more, not -2"),
        ({"pairs": "pairs.csv", "images": "."}, "images and pairs are given"),
        ({"pairs": "pairs.csv", "shards": "packed"}, "shards hold no pairs"),
    ],
)
def test_what_does_not_go_together_is_refused(photos, options, told):
    (photos / "pairs.csv").write_text("1.png,2.png\n")
    paths = {n: photos / v if n in ("pairs", "images") else v for n, v in options.items()}
    with pytest.raises(ConfigurationError, match=told):
        make_source(**paths)


def test_a_pair_is_the_same_in_any_number_of_workers(kitti):
    def batch(workers):
        needs = ("image", "second")
        batches = Batches(Pairs(kitti), size=(16, 16), batch=4, needs=needs, workers=workers)
        return next(batches())

    alone, shared = batch(0), batch(2)
    for name in ("image", "second", "index"):
        assert torch.equal(alone[name], shared[name])


def test_packing_a_list_of_pairs_packs_the_first_of_each(photos, tmp_path):
    (photos / "pairs.csv").write_text("1.png,2.png\n3.png,4.png\n")
    list(pack(photos / "pairs.csv", tmp_path / "packed", workers=0))
    assert make_source(shards=str(tmp_path / "packed")).has == {"image"}
