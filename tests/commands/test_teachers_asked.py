"""'sgmim knowledge' with teachers and with maps to read, from command to files."""

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.images import Images
from sgmim.data.stored import read_note
from sgmim.knowledge import depth, surfaces
from sgmim.options import Parser
from sgmim.pinhole import Lens
from shell import sgmim
from tiny_teachers import folder


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png", "deep/c.png"):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((80, 60), Image.Resampling.BICUBIC).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def asked(name, photos, *words):
    """The maps that a command makes, and their note."""
    maps = photos.parent / name
    assert sgmim("knowledge", name, photos, maps, "--device=cpu", *words) == 0
    source = Images(photos, {name: maps})
    return [source.read(index)[name] for index in range(len(source))], read_note(maps)


def test_depth_by_a_model(photos):
    path = folder("depth_anything")
    maps, note = asked("depth", photos, f"--teacher={path}", "--precision=fp32")
    assert (note.source, note.kind, note.direction) == ("depth-anything", "inverse", "far_high")
    image = Images(photos).read(0)["image"][None] / 255
    raw = torch.nn.functional.interpolate(
        depth.maker(teacher=str(path))(image), (60, 80), mode="bicubic", antialias=False
    )[0]
    near = (raw - raw.min()) / (raw.max() - raw.min())
    assert maps[0].shape == (1, 60, 80)
    assert (maps[0] - (1 - near)).abs().max() < 0.05  # but for the overshoot of bicubic


def test_classes_by_a_model(photos):
    maps, note = asked("segments", photos, f"--teacher={folder('mask2former')}")
    assert (note.kind, note.scale) == ("class", 1.0)
    assert all(set(each.unique().tolist()) <= set(range(5)) for each in maps)


def test_depth_by_a_function_with_holes(photos, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def see(image):\n"
        "    depth = 1 + image[:, :1]\n"
        "    depth[..., :9, :9] = float('nan')\n"
        "    return depth\n"
    )
    words = (f"--teacher={tmp_path}/mine.py:see", "--kind=metric", "--trained_on=[kitti]")
    maps, note = asked("depth", photos, *words)
    assert note.trained_on == ("kitti",)
    for index, each in enumerate(maps):
        image = Images(photos).read(index)["image"] / 255
        assert each[:, :9, :9].isnan().all()
        assert (each - 1 - image[:1]).abs()[:, 9:].max() < 1 / 256


@pytest.mark.parametrize("batch", [1, 8])
def test_normals_of_depth_maps(photos, tmp_path, batch):
    rng = np.random.default_rng(1)
    for path in photos.rglob("*.png"):
        place = tmp_path / "kinect" / path.relative_to(photos)
        place.parent.mkdir(parents=True, exist_ok=True)
        depth = rng.integers(1000, 1100, (60, 80)).astype(np.uint16)
        depth[20:30, 40:50] = 0
        Image.fromarray(depth).save(place)
    kinect = (f"--depth={tmp_path}/kinect", "--depth_scale=1000", "--depth_hole=0")
    maps, note = asked("normals", photos, *kinect, "--smooth=3", f"--batch={batch}")
    assert note.kind == "normal"
    source = Images(
        photos, {"depth": tmp_path / "kinect"}, scale={"depth": 1000.0}, hole={"depth": 0.0}
    )
    for index, each in enumerate(maps):
        depth = source.read(index)["depth"][None]
        truth = surfaces.from_depth(depth, Lens(), 3)[0]
        assert torch.equal(each.isnan(), truth.isnan())
        assert each[:, 20:30, 40:50].isnan().all()
        assert (each - truth).abs().nan_to_num(0).max() < 2.1 / 65535


@pytest.mark.parametrize(
    "words",
    [
        ("--accept-license",),
        ("--accept_license", "--teacher=mine.py:see"),
        ("--accept_license", "true"),
        ("--accept_license=true",),
    ],
)
def test_an_option_of_yes_or_no_may_stand_alone(words):
    parser = Parser("knowledge depth")
    parser.add_keywords(depth.maker)
    assert parser.read(words).accept_license is True
    assert parser.read((*words, "--accept_license", "false")).accept_license is False
    assert parser.read(()).accept_license is False
