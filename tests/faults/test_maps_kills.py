"""The making of maps is killed, and the disk is full, again and again."""

import os
import random
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
import torch
from PIL import Image

from faults import children
from sgmim.data.images import Images
from sgmim.data.png import is_whole
from sgmim.data.stored import NOTE, Note
from sgmim.errors import FileError
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import make
from sgmim.knowledge.maps.claiming import BROKEN, CONSTANT
from shell import files

pytestmark = pytest.mark.slow

KILLS, COUNT = 20, 600
NOTE_OF_RAW = Note(name="depth", source="a test", kind="inverse", direction="near_high")


def source(image):
    """A map that shows, in its last bits, which images it was made beside."""
    beside = image[:, :, 0, 0].mean() * torch.arange(image.shape[-1]) / image.shape[-1]
    return image.mean(1, keepdim=True) * (1 + 5e-4 * beside)


def job(photos, maps, **options):
    torch.set_num_threads(1)  # or threads of a forked process run for torch's pool, and may lose
    maker = Function(source, NOTE_OF_RAW)
    for _ in make(maker, Images(photos), maps, workers=2, confidence=sure(maps), **options):
        pass


def sure(maps):
    return maps.with_name(f"{maps.name}_sure")


@pytest.fixture
def photos(tmp_path):
    """Of several sizes, some broken, some of one color."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    for number in range(COUNT):
        size = (48, 64) if number % 3 else (64, 48)
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        path = folder / f"{number % 7}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels * (number % 50 > 0)).save(path)
        if number % 90 == 7:
            path.write_bytes(path.read_bytes()[: 900 if number % 180 == 7 else 99])
    return folder


def everything(*folders):
    return {f"{f.name} {name}": (f / name).read_bytes() for f in folders for name in files(f)}


def test_maps_made_under_kills_are_those_made_without(tmp_path, photos, recorded):
    once, often = tmp_path / "once" / "maps", tmp_path / "often" / "maps"
    job(photos, once)
    draw, kept, reached, there = random.Random(0), 0, [], []
    for number in range(KILLS):
        pid = children.start(lambda: job(photos, often), tmp_path / "told.txt")
        wait_for(often, len(there) + draw.randint(0, COUNT // KILLS // 2))
        sleep(0.05 * draw.random())
        os.kill(pid, signal.SIGKILL)
        kept += children.end(pid) == -signal.SIGKILL
        there = maps_in(often)
        reached.append(len(there))
        assert all(is_whole(often / name) for name in there), f"half a map after kill {number}"
    assert children.done(lambda: job(photos, often), tmp_path / "told.txt") == 0
    assert len(set(reached)) > KILLS / 2, "the kills came too early or too late: nothing was tested"
    made, expected = everything(often, sure(often)), everything(once, sure(once))
    assert sorted(made) == sorted(expected)
    assert {f"maps {name}" for name in (NOTE, BROKEN, CONSTANT)} <= set(made)
    assert differing(made, expected) == []
    job(photos, tmp_path / "others" / "maps", batch=7)
    other = everything(tmp_path / "others" / "maps")
    assert len(differing(other, expected)) > COUNT / 2, "batches would not have shown"
    recorded("making maps", "SIGKILL at any moment: every file as without", KILLS, kept)


def wait_for(folder, count, seconds=3.0):
    """Until so many maps are there, on a machine that may be busy."""
    deadline = monotonic() + seconds
    while len(maps_in(folder)) < count and monotonic() < deadline:
        sleep(0.01)


def maps_in(folder):
    return [name for name in files(folder) if is_map(name)]


def differing(one, other):
    return [name for name in one if one[name] != other[name]]


def is_map(name):
    return name.endswith(".png") and not Path(name).name.startswith(".")


@pytest.fixture
def disk(tmp_path):
    """A small disk, where this process may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_no_map_is_half_there(photos, disk, recorded):
    maps = disk / "maps"
    with pytest.raises(FileError, match=r"No space left.*make room"):
        job(photos, maps)
    there = maps_in(maps)
    assert there and all(is_whole(maps / name) for name in there)
    assert not any(name.endswith(".partial") for name in files(maps))
    recorded("making maps", "disk full: clear message, no half map", 1, 1)
