import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.images import Images
from sgmim.data.stored import NOTE, Note, read_map
from sgmim.errors import ConfigurationError, FileError
from sgmim.knowledge.edges import edges
from sgmim.knowledge.edges import maker as edges_maker
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import make

RED = Note(name="red", meaning="redness", source="a test", version="1", scale=65535.0)
NAMES = ["a.jpg", "deep/c.png", "deep/er/b.png"]


def red(image):
    return image[:, :1]


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def made(function, photos, folder, note=RED, **options):
    return list(make(Function(function, note), Images(photos), folder, **options))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_maps_are_read_back_as_they_were_made(tmp_path, photos):
    items = made(red, photos, tmp_path / "maps")
    assert [(each.name, each.number, each.count, each.new) for each in items] == [
        (name, number, 3, True) for number, name in enumerate(NAMES, start=1)
    ]
    assert files(tmp_path / "maps") == ["a.png", "deep/c.png", "deep/er/b.png", NOTE]
    source = Images(photos, {"red": tmp_path / "maps"})
    for index in range(3):
        sample = source.read(index)
        torch.testing.assert_close(sample["red"], sample["image"][:1] / 255, atol=1e-6, rtol=0)


def test_edges_come_within_half_a_step_of_16_bits(tmp_path, photos):
    list(make(edges_maker(), Images(photos), tmp_path / "maps"))
    sample = Images(photos, {"edges": tmp_path / "maps"}).read(0)
    truth = edges(sample["image"][None] / 255)[0]
    assert (sample["edges"] - truth).abs().max() <= 0.51 / 65535


def test_values_may_have_any_range_and_several_channels(tmp_path, photos):
    note = replace(RED, scale=65535 / 2, low=-1.0)
    made(lambda image: 2 * image - 1, photos, tmp_path / "maps", note)
    sample = Images(photos, {"normals": tmp_path / "maps"}).read(1)
    torch.testing.assert_close(sample["normals"], sample["image"] / 127.5 - 1, atol=2e-5, rtol=0)


def test_what_is_there_is_not_made_again(tmp_path, photos):
    made(red, photos, tmp_path / "maps")
    (tmp_path / "maps" / "deep" / "er" / "b.png").unlink()
    kept = (tmp_path / "maps" / "a.png").stat().st_mtime_ns
    items = made(red, photos, tmp_path / "maps")
    assert [each.new for each in items] == [False, False, True]
    assert (tmp_path / "maps" / "a.png").stat().st_mtime_ns == kept


def test_a_broken_image_is_told_of_and_passed_over(tmp_path, photos):
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:200])
    items = made(red, photos, tmp_path / "maps")
    assert "a.jpg" in items[0].error and [each.error for each in items[1:]] == [None, None]
    assert files(tmp_path / "maps") == ["broken.txt", "deep/c.png", "deep/er/b.png", NOTE]
    name, _, reason = (tmp_path / "maps" / "broken.txt").read_text().partition("\t")
    assert name == "a.jpg" and "cannot be read" in reason


def test_an_image_that_was_mended_is_broken_no_more(tmp_path, photos):
    whole = (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").write_bytes(whole[:200])
    made(red, photos, tmp_path / "maps")
    (photos / "a.jpg").write_bytes(whole)
    made(red, photos, tmp_path / "maps")
    assert files(tmp_path / "maps") == ["a.png", "deep/c.png", "deep/er/b.png", NOTE]


def test_the_note_says_what_the_numbers_mean(tmp_path, photos):
    made(red, photos, tmp_path / "maps")
    note = json.loads((tmp_path / "maps" / NOTE).read_text())
    assert note["scale"] == 65535 and note["meaning"] == "redness" and note["sgmim"]
    assert note["images"] == str(photos)


@pytest.mark.parametrize("other", [{"source": "another"}, {"version": "2"}, {"scale": 100.0}])
def test_another_source_does_not_get_into_the_same_folder(tmp_path, photos, other):
    made(red, photos, tmp_path / "maps")
    with pytest.raises(ConfigurationError, match=r"holds maps made otherwise .* there, .* here"):
        made(red, photos, tmp_path / "maps", replace(RED, **other))


def test_maps_of_unknown_origin_are_not_mixed_with(tmp_path, photos):
    with pytest.raises(ConfigurationError, match=r"not empty and has no knowledge\.json"):
        made(red, photos, photos, RED)


def test_the_unknown_is_stored_as_a_hole(tmp_path, photos):
    def holed(image):
        return image[:, :1].where(image[:, 1:2] > 0.5, torch.nan)

    made(holed, photos, tmp_path / "maps", replace(RED, hole=0.0))
    sample = Images(photos, {"red": tmp_path / "maps"}).read(0)
    assert torch.equal(sample["red"].isnan(), sample["image"][1:2] / 255 <= 0.5)
    known = ~sample["red"].isnan()
    truth = sample["image"][:1] / 255
    torch.testing.assert_close(sample["red"][known], truth[known], atol=2e-5, rtol=0)


def test_without_a_hole_the_unknown_is_an_error(tmp_path, photos):
    items = made(lambda image: image / 0, photos, tmp_path / "maps")
    assert all("no numbers" in each.error for each in items)
    assert files(tmp_path / "maps") == ["broken.txt", NOTE]


def test_a_smaller_map_is_made_as_large_as_its_image(tmp_path, photos):
    made(lambda image: image[:, :1, ::2, :-1:2], photos, tmp_path / "maps")
    sample = Images(photos, {"red": tmp_path / "maps"}).read(0)
    assert sample["red"].shape == (1, 12, 17)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, photos):
    (tmp_path / "maps").write_text("a file")
    with pytest.raises(FileError, match="cannot write"):
        made(red, photos, tmp_path / "maps")


def make_many(photos, folder):
    torch.set_num_threads(1)
    made(red, photos, folder)


def test_a_killed_run_leaves_no_half_map_and_goes_on(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02}.png")
    fork = multiprocessing.get_context("fork")
    for attempt in range(15):
        process = fork.Process(target=make_many, args=(tmp_path / "photos", tmp_path / "maps"))
        process.start()
        time.sleep(random.Random(attempt).uniform(0.005, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for path in (tmp_path / "maps").glob("*.png"):
            read_map(path)
    make_many(tmp_path / "photos", tmp_path / "maps")
    source = Images(tmp_path / "photos", {"red": tmp_path / "maps"})
    for index in range(60):
        sample = source.read(index)
        torch.testing.assert_close(sample["red"], sample["image"][:1] / 255, atol=1e-6, rtol=0)
