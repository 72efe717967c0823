import os
import pickle
import signal
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim import draws
from sgmim.data import loading
from sgmim.data.batches import Batches, in_order
from sgmim.data.derived import Subset, WithMap
from sgmim.data.geometry import unnormalize
from sgmim.data.images import Images
from sgmim.data.live import Computed, Live
from sgmim.data.png import encode_png
from sgmim.data.scenes import Scenes
from sgmim.errors import ConfigurationError, DataError
from sgmim.knowledge import edges, keypoints
from sgmim.knowledge.live import LIVE
from sgmim.knowledge.maps import make

COUNT = 10


@pytest.fixture
def folder(tmp_path):
    """Photos, and depth that is the photos' red in 16 bits."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "depth").mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        image = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
        depth = encode_png(image[None, ..., 0].astype(np.uint16) * 257)
        (tmp_path / "depth" / f"{number}.png").write_bytes(depth)
    return tmp_path


@pytest.fixture
def source(folder):
    return Images(folder / "photos", {"depth": folder / "depth"}, scale={"depth": 65535.0})


def batches(source, **options):
    return Batches(source, **({"size": (8, 8), "batch": 4, "needs": ("image", "depth")} | options))


def take(source, count=6, start=0, **options):
    return list(islice(batches(source, **options)(start), count))


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_holds_what_is_needed(source):
    (batch,) = take(source, 1)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "image": (torch.float32, (4, 3, 8, 8)),
        "depth": (torch.float32, (4, 1, 8, 8)),
        "key": (torch.int64, (4,)),
        "index": (torch.int64, (4,)),
    }
    assert set(take(source, 1, needs=())[0]) == {"image", "key", "index"}


def test_maps_lie_on_the_image(source):
    for batch in take(source, normalization="none"):
        assert (batch["image"][:, :1] - batch["depth"]).abs().max() < 1 / 128


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # for want of cores
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_for_any_number_of_workers(source, workers):
    same(take(source, workers=workers), take(source))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_run_goes_on_where_it_stopped(source, start):
    same(take(source, 6 - start, start), take(source)[start:])


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_together_see_the_batch_of_one_process(source, world):
    shares = [take(source, rank=rank, world=world) for rank in range(world)]
    joined = [
        {name: torch.cat([share[step][name] for share in shares]) for name in shares[0][0]}
        for step in range(6)
    ]
    same(joined, take(source))


def test_the_key_of_a_sample_is_that_of_seed_epoch_and_index(source):
    (batch,) = take(source, 1, seed=5, batch=COUNT)
    keys = [draws.key(5, 0, index) for index in batch["index"].tolist()]
    assert batch["key"].tolist() == keys and len(set(keys)) == COUNT


def test_another_seed_or_epoch_gives_other_crops(source):
    first, second = take(source, 2, batch=COUNT)
    (other,) = take(source, 1, batch=COUNT, seed=1)
    order = [batch["index"].argsort() for batch in (first, second, other)]
    images = [batch["image"][by] for batch, by in zip((first, second, other), order, strict=True)]
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_random_numbers_are_left_alone(source, workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(source, 2, workers=workers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_replaced_and_noted(folder, source, workers):
    whole = take(source)
    (folder / "depth" / "3.png").write_bytes(b"broken")
    ours = batches(source, broken_share=0.5, workers=workers)
    replaced = list(islice(ours(), 6))
    assert list(ours.replaced) == ["3.png"] and "3.png cannot be read" in ours.replaced["3.png"]
    for one, other in zip(replaced, whole, strict=True):
        broken = other["index"] == 3
        assert torch.equal(one["key"], other["key"])
        assert torch.equal(one["image"][~broken], other["image"][~broken])
        assert (one["index"][broken] != 3).all()
    same(list(islice(batches(source, broken_share=0.5)(2), 4)), replaced[2:])


def test_too_many_broken_files_end_the_run_and_are_named(folder, source):
    (folder / "photos" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)1 of 10 .*broken_share=0.001.*3\.png cannot be read"):
        take(source)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_that_can_no_longer_be_read_ends_the_run(folder, source, workers):
    for path in (folder / "photos").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="in a row are broken: there is no file"):
        take(source, broken_share=1.0, workers=workers)


def test_what_workers_do_can_be_sent_to_spawned_ones(source):
    cutter = batches(source).cutter
    ours, theirs = pickle.loads(pickle.dumps(cutter))[0, 3], cutter[0, 3]
    same([ours[0]], [theirs[0]])


def test_waiting_is_counted(source):
    ours = batches(source)
    next(ours())
    assert ours.waited > 0


def test_a_map_that_the_data_lacks_is_refused(source):
    with pytest.raises(ConfigurationError, match=r"no normals.*only depth, image.*sgmim knowledge"):
        batches(source, needs=("image", "normals"))


def test_impossible_options_are_refused(source):
    for options in ({"scale": (0.9, 0.5)}, {"scale": (0.5, 2.0)}, {"ratio": (0.0, 1.0)}):
        with pytest.raises(ConfigurationError, match="lower and an upper bound"):
            batches(source, **options)
    with pytest.raises(ConfigurationError, match=r"from 0 to 1, not 1\.5"):
        batches(source, flip=1.5)
    with pytest.raises(ConfigurationError, match=r"workers are 0 .* or more, not -1"):
        batches(source, workers=-1)
    with pytest.raises(ConfigurationError, match="no normalization 'imagent'"):
        batches(source, normalization="imagent")


@pytest.mark.parametrize("workers", [0, 1])
def test_maps_of_different_kinds_in_one_folder_are_told_of(folder, source, workers):
    color = encode_png(np.zeros((3, 23, 30), np.uint16))
    (folder / "depth" / "3.png").write_bytes(color)
    with pytest.raises(
        DataError, match=r"not all depth maps are alike: .*\(1, 8, 8\).*\(3, 8, 8\)"
    ):
        take(source, batch=COUNT, workers=workers)


class Deadly:
    """A source whose second sample kills the process that reads it."""

    names, has = ["one", "two"], {"image"}

    def __len__(self):
        return 2

    def read(self, index, needs=None):
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"image": torch.zeros(3, 8, 8, dtype=torch.uint8)}


def test_a_file_that_kills_whoever_loads_it_ends_the_run_and_is_named():
    with pytest.raises(DataError, match="while it read two, and so did the one before it"):
        list(in_order(Deadly(), workers=1))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_for_evaluation_every_image_comes_once_and_in_order(source, batch, workers):
    ours = list(in_order(source, size=(8, 12), batch=batch, needs=("depth",), workers=workers))
    assert torch.cat([each["index"] for each in ours]).tolist() == list(range(COUNT))
    assert {tuple(each["image"].shape[1:]) for each in ours} == {(3, 8, 12)}
    assert {tuple(each["depth"].shape[1:]) for each in ours} == {(1, 8, 12)}


def test_images_of_different_sizes_come_as_they_are(folder, source):
    for number in (1, 2, 4):  # as large as number 0 and 3
        for kind in ("photos", "depth"):
            other = folder / kind / ("0.png" if number < 3 else "3.png")
            (folder / kind / f"{number}.png").write_bytes(other.read_bytes())
    sizes = [tuple(each["image"].shape) for each in in_order(source, batch=2)]
    assert sizes[:3] == [(2, 3, 20, 30), (1, 3, 20, 30), (2, 3, 23, 30)]
    assert [number for number, *_ in sizes[3:]] == [1] * 5


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_not_passed_over_in_evaluation_unless_asked(folder, source, workers):
    (folder / "photos" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"^\S*3\.png cannot be read"):
        list(in_order(source, size=(8, 8), workers=workers))
    broken = {}
    (batch,) = in_order(source, size=(8, 8), workers=workers, broken=broken)
    assert batch["index"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9] and list(broken) == ["3.png"]


def test_replacements_are_not_tried_for_ever(folder, source, monkeypatch):
    monkeypatch.setattr(loading, "REPLACEMENTS", 1)
    (folder / "photos" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 in a row are broken"):
        take(source, batch=COUNT, broken_share=1.0)


DOUBLED = Live(lambda image, depth: 2 * depth + image[:, :1], needs=("image", "depth"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_live_map_is_that_of_the_crop_wherever_it_is_computed(source, workers):
    needs = ("image", "twice")
    (here,) = take(source, 1, needs=needs, live=Computed(device={"twice": DOUBLED}))
    crop = Computed(crop={"twice": DOUBLED})
    (there,) = take(source, 1, needs=needs, live=crop, workers=workers)
    assert torch.equal(here["twice"], there["twice"])
    torch.testing.assert_close(
        here["twice"], 2 * here["depth"] + unnormalize(here["image"])[:, :1], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("maker", [edges.maker(), keypoints.maker(threshold=10)])
def test_live_maps_are_those_of_files_where_the_crop_changes_nothing(source, folder, maker, flip):
    name, images = maker.note.name, Images(folder / "photos")
    assert all(made.error is None for made in make(maker, images, folder / name))
    whole = {"size": (20, 30), "scale": (1.0, 1.0), "ratio": (1.5, 1.5), "needs": (name,)}
    stored = Subset(Images(folder / "photos", {name: folder / name}), count=1)  # 20 x 30 pixels
    [one] = take(stored, 1, batch=1, flip=flip, **whole)
    assert one[name].max() > 0
    for where in ("crop", "device"):
        live = Computed(**{where: {name: LIVE[name]}})
        [other] = take(Subset(images, count=1), 1, batch=1, flip=flip, live=live, **whole)
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1 / 65535)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_live_normals_are_those_of_the_whole_depth_also_in_a_mirror(flip):
    scenes, how = Scenes(2, size=32, kind="rooms"), {"normals": LIVE["normals"]}
    whole = {"size": (32, 32), "scale": (1.0, 1.0), "ratio": (1.0, 1.0), "needs": ("normals",)}
    whole |= {"batch": 2, "flip": flip}
    [before] = take(WithMap(scenes, "normals", LIVE["normals"]), 1, **whole)
    [crop] = take(scenes, 1, live=Computed(crop=how), **whole)
    [device] = take(scenes, 1, live=Computed(device=how), **whole)
    torch.testing.assert_close(crop["normals"], before["normals"])
    torch.testing.assert_close(device["normals"], before["normals"])


def test_live_maps_are_there_for_evaluation_too(source):
    live = Computed(device={"twice": DOUBLED})
    (batch,) = in_order(source, size=(8, 8), needs=("twice",), live=live)
    torch.testing.assert_close(
        batch["twice"], 2 * batch["depth"] + unnormalize(batch["image"])[:, :1], rtol=0, atol=1e-6
    )
