import torch
from torch.testing import assert_close

from sgmim.data.scenes import render
from sgmim.pinhole import as_colors, assumed_camera, normals, points


def a_room(size=64):
    scene = render(torch.tensor([3]), size, "rooms")
    focal = scene["focal"]
    middle = torch.full_like(focal, size / 2)
    return scene, torch.stack([focal, focal, middle, middle], dim=1)


def test_a_pixel_straight_ahead_lies_on_the_axis():
    camera = assumed_camera(5, 5)[None]
    middle = points(torch.full((1, 1, 5, 5), 3.0), camera)[0, :, 2, 2]
    assert_close(middle, torch.tensor([0.0, 0.0, 3.0]))


def test_the_field_of_view_is_that_of_the_longer_side():
    camera = assumed_camera(100, 200, 90.0)[None]
    right = points(torch.ones(1, 1, 100, 200), camera)[0, 0, 0, -1]
    assert_close(right, torch.tensor(0.995))  # the middle of the last pixel, at 45 degrees nearly


def test_normals_of_depth_are_those_that_a_scene_has():
    scene, camera = a_room()
    made = normals(points(scene["depth"], camera))
    agreement = (made * scene["normals"]).sum(dim=1)
    assert agreement.median() > 0.9999
    assert (agreement > 0.99).float().mean() > 0.7  # but for edges, where no plane is


def test_a_scene_of_twice_the_size_has_the_same_normals():
    scene, camera = a_room()
    once, twice = (normals(points(k * scene["depth"], camera)) for k in (1, 2))
    assert_close(once, twice)


def test_next_to_a_hole_no_normal_is_known():
    depth = torch.full((1, 1, 5, 5), 2.0)
    depth[..., 2, 2] = torch.nan
    known = normals(points(depth, assumed_camera(5, 5)[None])).isfinite().all(dim=1)[0]
    assert not known[2, 1:4].any() and not known[1:4, 2].any()
    assert known.sum() == 20


def test_a_surface_that_faces_the_camera_is_light_blue():
    space = points(torch.ones(1, 1, 9, 9), assumed_camera(9, 9)[None])
    colors = as_colors(normals(space))
    assert_close(colors[0, :, 4, 4], torch.tensor([0.5, 0.5, 1.0]))
