"""Batches, processes, precision, sizes and confidence: how maps are made for many images."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from processes import joined
from sgmim.data.images import Images
from sgmim.data.stored import NOTE, Note, read_map, read_note, read_range
from sgmim.errors import ConfigurationError, DataError
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import batching, make
from sgmim.knowledge.maps.flow import AHEAD
from shell import files

INVERSE = Note(name="depth", kind="inverse", source="a test")


@dataclass
class Watched:
    """Notes down what it is shown."""

    note: Note = INVERSE
    most: int = 99  # images that fit into memory
    slip: float = 0.0  # how much a batch changes a map

    def __post_init__(self):
        self.shown = []

    def __call__(self, image):
        if len(image) > self.most:
            raise torch.OutOfMemoryError("too much")
        self.shown.append(tuple(image.shape))
        return image.mean(1, keepdim=True) * (1 + self.slip * (len(image) - 1) * image[:, :1])


@pytest.fixture
def photos(tmp_path):
    return many(tmp_path / "photos", 20)


def many(folder, count):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        size = (24, 32) if number % 4 else (32, 24)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            folder / f"{number:03}.png"
        )
    return folder


def made(maker, photos, maps, **options):
    return list(make(maker, Images(photos), maps, **options))


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


def test_images_of_one_size_are_shown_together(tmp_path, photos):
    maker = Watched()
    made(maker, photos, tmp_path / "maps", batch=8)
    tried = 8 + 1  # one by one, and together
    assert maker.shown[tried:] == [(5, 3, 32, 24), (8, 3, 24, 32), (7, 3, 24, 32)]


def test_batches_hold_every_image_once_and_few_pixels():
    sizes = {index: (1000, 3000 + index % 3) for index in range(100)}
    found = batching.batches(sizes, 64)
    assert sorted(index for batch in found for index in batch) == list(range(100))
    assert max(map(len, found)) == batching.MOST_PIXELS // (1000 * 3001)
    assert batching.batches({0: (30_000, 30_000)}, 64) == [[0]]


@pytest.mark.parametrize("count", [1, 7, 100, 5000, 1_000_000])
def test_pieces_of_the_list_are_the_list(count):
    pieces = batching.chunks(count, 8)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == count and max(map(len, pieces)) <= batching.CHUNK


def test_a_batch_that_changes_maps_is_halved_and_told(tmp_path, photos):
    items = made(Watched(slip=5e-4), photos, tmp_path / "maps", batch=8)
    assert "batches of 2, not 8" in items[0].told and not any(each.told for each in items[1:])
    assert json.loads((tmp_path / "maps" / NOTE).read_text())["made"]["batch"] == 2
    assert made(Watched(slip=1e-5), photos, tmp_path / "same", batch=8)[0].told is None


def test_a_job_that_goes_on_keeps_its_batch(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps", batch=4)
    whole = contents(tmp_path / "maps")
    (tmp_path / "maps" / "007.png").unlink()
    (tmp_path / "maps" / "008.png").write_bytes(whole["008.png"][:-3])  # as a lost disk leaves it
    maker = Watched()
    items = made(maker, photos, tmp_path / "maps", batch=8)
    assert "batches of 4, not 8" in items[0].told
    assert sorted(each.index for each in items if each.new) == [7, 8]
    assert {shape[0] for shape in maker.shown} <= {4, 1} and contents(tmp_path / "maps") == whole


def test_memory_that_is_too_small_makes_batches_smaller(tmp_path, photos):
    assert "batches of 4" in made(Watched(most=4), photos, tmp_path / "maps", batch=8)[0].told
    items = made(Watched(most=0), photos, tmp_path / "none", batch=1)
    assert all("too large for the memory of cpu" in each.error for each in items)


def test_processes_share_the_images(tmp_path):
    photos = many(tmp_path / "photos", 70)
    made(Watched(), photos, tmp_path / "alone")

    def work(rank):
        items = made(Watched(), photos, tmp_path / "maps")
        return [each.index for each in items if each.new]

    shares = joined(work, 3, tmp_path / "told")
    assert sorted(index for share in shares for index in share) == list(range(70))
    assert all(shares)
    assert contents(tmp_path / "maps") == contents(tmp_path / "alone")


def test_threads_change_nothing(tmp_path, photos):
    for workers in (1, 5):
        made(Watched(), photos, tmp_path / f"{workers}", workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "5")


def test_few_images_are_read_ahead_of_the_source(tmp_path):
    images, reads = Images(many(tmp_path / "photos", 200)), []
    read = images.read
    images.read = lambda *asked: reads.append(asked) or read(*asked)
    making = make(Watched(), images, tmp_path / "maps", batch=4)
    next(making)
    assert len(reads) <= 4 * (2 * AHEAD + 3)
    making.close()
    assert len(reads) < 60 and len(list(make(Watched(), images, tmp_path / "maps"))) == 200


def test_a_map_is_stored_far_high_and_its_file_keeps_the_range(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps")
    source = Images(photos, {"depth": tmp_path / "maps"})
    for index in (0, 13):
        sample = source.read(index)
        raw = sample["image"].float().mean(0) / 255
        low, high = read_range(tmp_path / "maps" / f"{index:03}.png")
        assert (low, high) == pytest.approx((raw.min().item(), raw.max().item()), abs=1e-6)
        back = low + (1 - sample["depth"][0]) * (high - low)
        torch.testing.assert_close(back, raw, rtol=0, atol=1e-5)
    said = read_note(tmp_path / "maps")
    assert (said.direction, said.kind, said.per_image) == ("far_high", "inverse", True)


def test_maps_of_one_value_are_listed(tmp_path, photos):
    Image.new("RGB", (24, 32), (9, 9, 9)).save(photos / "004.png")
    items = made(Watched(), photos, tmp_path / "maps")
    assert [each.name for each in items if each.constant] == ["004.png"]
    assert (tmp_path / "maps" / "constant.txt").read_text().startswith("004.png\tits map is 0.0352")
    assert read_map(tmp_path / "maps" / "004.png").abs().max() == 0
    (tmp_path / "maps" / "005.png").unlink()
    made(Watched(), photos, tmp_path / "maps")
    assert (tmp_path / "maps" / "constant.txt").read_text().count("\n") == 1


def test_smaller_maps_are_enlarged_as_they_are_read(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps", max_side=16)
    assert read_map(tmp_path / "maps" / "001.png").shape == (1, 12, 16)
    source = Images(photos, {"depth": tmp_path / "maps"})
    sample = source.read(1)
    assert sample["depth"].shape == (1, 24, 32)
    assert torch.equal(source.read(1, {"depth"})["depth"], sample["depth"])
    mean = sample["image"].float().mean(0) / 255
    blurred = torch.nn.functional.avg_pool2d(mean[None], 4)
    told = torch.nn.functional.avg_pool2d(1 - sample["depth"], 4)
    assert np.corrcoef(blurred.flatten(), told.flatten())[0, 1] > 0.9


def test_a_small_map_that_nobody_spoke_of_is_refused(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps", max_side=16)
    note = tmp_path / "maps" / NOTE
    for said in ("0", "20"):
        note.write_text(note.read_text().replace('"max_side": 16', f'"max_side": {said}'))
        with pytest.raises(DataError, match="are not of one size"):
            Images(photos, {"depth": tmp_path / "maps"})


def test_precision_is_as_asked_and_stays(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps", precision="bf16")
    assert json.loads((tmp_path / "maps" / NOTE).read_text())["made"]["precision"] == "bf16"
    made(Watched(), photos, tmp_path / "maps")
    with pytest.raises(ConfigurationError, match="made in bf16, not fp32"):
        made(Watched(), photos, tmp_path / "maps", precision="fp32")


def test_a_network_runs_in_the_precision_and_a_function_in_fp32(tmp_path, photos):
    kinds = []

    def multiplied(image):
        product = image.flatten(1) @ image.flatten(1).T
        kinds.append(product.dtype)
        return image[:, :1]

    made(Function(multiplied, INVERSE), photos, tmp_path / "maps")
    assert set(kinds) == {torch.float32}
    kinds.clear()
    made(Function(multiplied, INVERSE), photos, tmp_path / "half", precision="bf16")
    assert set(kinds) == {torch.bfloat16}


def test_confidence_is_made_beside_the_maps(tmp_path, photos):
    def leans(image):  # to the left, which a mirror shows
        return image[:, :1] + torch.linspace(0, 1, image.shape[-1])

    maker = Function(leans, INVERSE)
    made(maker, photos, tmp_path / "maps", confidence=tmp_path / "sure")
    assert read_note(tmp_path / "sure").name == "depth_confidence"
    source = Images(photos, {"sure": tmp_path / "sure"})
    image, sure = (source.read(1)[name] for name in ("image", "sure"))
    red = image[:1] / 255
    one = red + torch.linspace(0, 1, 32)
    other = red + torch.linspace(1, 0, 32)
    expected = (-(one - other).abs() / (0.1 * (one.max() - one.min()))).exp()
    torch.testing.assert_close(sure, expected, rtol=0, atol=1e-5)
    said = [json.loads((tmp_path / name / NOTE).read_text())["made"] for name in ("maps", "sure")]
    assert said[0] == said[1]
    (tmp_path / "sure" / "001.png").unlink()
    made(maker, photos, tmp_path / "maps", confidence=tmp_path / "sure")
    assert (tmp_path / "sure" / "001.png").exists()


@pytest.mark.parametrize("place", ["maps", "maps/sure", "."])
def test_confidence_has_a_folder_of_its_own(tmp_path, photos, place):
    with pytest.raises(ConfigurationError, match="choose another"):
        made(Watched(), photos, tmp_path / "maps", confidence=tmp_path / place)


def test_maps_do_not_mix_with_others(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps")
    with pytest.raises(ConfigurationError, match=r"would mix .*knowledge\.json"):
        made(Watched(), photos, tmp_path / "maps" / "more")
    np.save(tmp_path / "maps" / "001.npy", np.zeros((24, 32)))
    with pytest.raises(ConfigurationError, match=r"would mix .*001\.npy"):
        made(Watched(), photos, tmp_path / "maps")


def test_a_broken_note_is_told(tmp_path, photos):
    made(Watched(), photos, tmp_path / "maps")
    (tmp_path / "maps" / NOTE).write_text('{"scale": ')
    with pytest.raises(DataError, match=r"knowledge\.json cannot be read"):
        made(Watched(), photos, tmp_path / "maps")


@pytest.mark.parametrize("options", [{"batch": 0}, {"workers": 0}, {"max_side": -1}])
def test_numbers_that_cannot_be_are_refused(tmp_path, photos, options):
    with pytest.raises(ConfigurationError, match="or more"):
        made(Watched(), photos, tmp_path / "maps", **options)
