import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from conftest import close
from sgmim import pinhole
from sgmim.data.images import Images
from sgmim.data.stored import NOTE
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maker import Maker, Reader
from sgmim.knowledge.normals import maker
from sgmim.knowledge.surfaces import averaged, from_depth
from sgmim.pinhole import Lens
from tiny_teachers import folder

CAMERA = (40.0, 40.0, 16.0, 12.0)
COLORS = torch.rand(1, 3, 24, 32)
TEACHERS = """
import torch

def tilted(image):  # in OpenCV's axes
    return torch.tensor([3.0, -4.0, -12.0])[:, None, None].expand(len(image), 3, 6, 8)

def tilted_in_opengl(image):
    return torch.tensor([3.0, 4.0, 12.0])[:, None, None].expand(len(image), 3, 6, 8)

def slanted(image):  # metric depth of a plane
    across = torch.linspace(-1, 1, image.shape[3])
    return (2 + across).expand(len(image), 1, *image.shape[2:])
"""


def plane(normal, distance=3.0):
    """Depth of the plane of all points p with normal . p = -distance, as CAMERA sees it."""
    rays = pinhole.points(torch.ones(1, 1, 24, 32), torch.tensor([CAMERA]))
    return -distance / torch.einsum("c,bchw->bhw", torch.tensor(normal), rays)[:, None]


@pytest.fixture
def maps(tmp_path):
    """A photograph and its depth in millimeters, as a sensor keeps it: a slanted plane, a hole."""
    depth = (1000 * plane((0.6, 0.0, -0.8))).round()[0, 0]
    depth[5:9, 10:15] = 0
    for name in ("photos", "depth"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "photos" / "a.png")
    Image.fromarray(depth.numpy().astype(np.uint16)).save(tmp_path / "depth" / "a.png")
    return tmp_path


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "own.py").write_text(TEACHERS)
    return f"{tmp_path}/own.py"


def made_of(maps, **options):
    """Normals of such maps, as 'sgmim knowledge' makes them."""
    made = maker(depth=maps / "depth", intrinsics=CAMERA, **options)
    sample = Images(maps / "photos", **made.found).read(0)
    return made, made(sample[made.reads][None])[0]


def test_the_normals_of_a_plane_are_its_own():
    for normal in ((0.6, 0.0, -0.8), (0.0, 0.28, -0.96), (0.0, 0.0, -1.0)):
        found = from_depth(plane(normal), Lens(CAMERA))
        close(found, torch.tensor(normal)[:, None, None].expand(1, 3, 24, 32))


def test_normals_of_a_depth_map_in_millimeters(maps):
    made, normals = made_of(maps, depth_scale=1000.0, depth_hole=0.0)
    assert isinstance(made, Reader)
    known = normals.isfinite().all(dim=0)
    truth = torch.tensor([0.6, 0.0, -0.8])[:, None]
    angle = torch.rad2deg(torch.acos((normals[:, known] * truth).sum(dim=0).clamp(-1, 1)))
    assert angle.mean() < 1  # that the depth is rounded to millimeters


def test_a_hole_in_depth_is_a_hole_in_normals(maps):
    _, normals = made_of(maps, depth_scale=1000.0, depth_hole=0.0)
    unknown = normals.isnan().all(dim=0)
    assert unknown[5:9, 10:15].all()
    assert not unknown[:4].any()
    assert torch.equal(unknown, normals.isnan().any(dim=0))


def test_averaging_leaves_planes_as_they_are_and_calms_noise():
    truth, lens = torch.tensor([0.6, 0.0, -0.8])[:, None, None], Lens(CAMERA)
    depth = plane((0.6, 0.0, -0.8))
    depth[..., 5:9, 10:15] = torch.nan
    flat = from_depth(depth, lens, smooth=5)
    assert (flat - truth).abs().nan_to_num(0).max() < 1e-4
    assert torch.equal(flat.isnan(), from_depth(depth, lens).isnan())
    noisy = depth + 0.01 * torch.randn(depth.shape, generator=torch.Generator().manual_seed(0))
    errors = [(from_depth(noisy, lens, side) - truth).abs().nanmean() for side in (1, 5)]
    assert errors[1] < errors[0] / 3


def test_an_average_is_of_what_is_known():
    values = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 6.0, 9.0]])[None, None]
    close(averaged(values, 3)[0, 0, 0, :2], torch.tensor([3.0, 21 / 5]))
    assert averaged(values, 3)[0, 0, 0, 2].isnan()


def test_maps_say_themselves_what_they_hold(maps):
    note = {"scale": 1000, "hole": 0, "source": "zoe", "license": "mit", "trained_on": ["nyu"]}
    (maps / "depth" / NOTE).write_text(json.dumps(note))
    made, normals = made_of(maps)
    assert normals.nanmean(dim=(1, 2))[2] < -0.7
    assert (made.note.source, made.note.license) == ("depth of zoe", "mit")
    assert made.note.trained_on == ("nyu",)
    assert (made.note.kind, made.note.low) == ("normal", -1.0)


def test_other_options_make_other_normals(maps):
    notes = [
        maker(depth=maps / "depth", **options).note.version
        for options in ({}, {"field_of_view": 70.0}, {"smooth": 3}, {"intrinsics": CAMERA})
    ]
    assert len(set(notes)) == 4
    assert "60 degrees assumed" in notes[0]


def test_depth_that_is_not_metric_has_no_normals(maps):
    (maps / "depth" / NOTE).write_text(json.dumps({"scale": 65535, "kind": "inverse"}))
    with pytest.raises(ConfigurationError, match=r"is inverse.*need metric depth"):
        maker(depth=maps / "depth")
    with pytest.raises(ConfigurationError, match="need metric depth"):
        maker(depth_teacher=str(folder("dpt")))


def test_normals_of_a_teachers_depth(functions):
    made = maker(depth_teacher=str(folder("metric_depth")))
    assert isinstance(made, Maker)
    normals = made(COLORS)
    assert normals.shape == (1, 3, 24, 32)
    close(normals.norm(dim=1), torch.ones(1, 24, 32))


def test_a_teachers_vectors_are_turned_to_our_axes(functions):
    truth = torch.tensor([3.0, -4.0, -12.0])[:, None, None].expand(1, 3, 6, 8) / 13
    close(maker(teacher=f"{functions}:tilted")(COLORS), truth)
    close(maker(teacher=f"{functions}:tilted_in_opengl", axes="opengl")(COLORS), truth)


def test_vectors_that_point_away_are_said(functions):
    for name, axes, other in (("tilted", "opengl", "opencv"), ("tilted_in_opengl", None, "opengl")):
        with pytest.raises(ConfigurationError, match=f"away from the camera.*--axes {other}"):
            maker(teacher=f"{functions}:{name}", axes=axes)(COLORS)


def test_a_model_of_normals_is_a_teacher():
    from transformers import AutoImageProcessor, AutoModelForNormalEstimation

    path = folder("tipsv2")
    with pytest.raises(ConfigurationError, match="--axes"):
        maker(teacher=str(path))
    processor = AutoImageProcessor.from_pretrained(path)
    model = AutoModelForNormalEstimation.from_pretrained(path)
    with torch.no_grad():
        said = model(**processor(list(COLORS), do_rescale=False, return_tensors="pt")).normals
    axes = "opencv" if (said[:, 2] > 0).float().mean() < 0.5 else "opengl"
    signs = torch.tensor([1.0, 1.0, 1.0] if axes == "opencv" else [1.0, -1.0, -1.0])
    theirs = F.normalize(said * signs[:, None, None], dim=1)
    close(maker(teacher=str(path), axes=axes)(COLORS), theirs)


def test_what_does_not_go_together_is_said(maps, functions):
    def refused(word, **options):
        with pytest.raises(ConfigurationError, match=word):
            maker(**options)

    refused("one source", depth=maps / "depth", teacher=f"{functions}:tilted")
    refused("odd number", depth=maps / "depth", smooth=4)
    refused("between 0 and 180", depth=maps / "depth", field_of_view=200.0)
    refused("above 0", depth=maps / "depth", intrinsics=(0.0, 1.0, 2.0, 3.0))
    refused("DPTForDepthEstimation", teacher=str(folder("dpt")))
