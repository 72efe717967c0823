"""Points are drawn as OpenCV draws them, or as their formula says."""

from math import exp

import pytest
import torch

from conftest import golden
from sgmim import rasters

DRAWN = {
    "point": rasters.point,
    "ring": rasters.ring,
    "disk": lambda points: rasters.disk(points, 2.5),
    "gaussian": lambda points: rasters.gaussian(points, 1.5),
}


def single(row, column, height=17, width=17):
    points = torch.zeros(1, 1, height, width)
    points[..., row, column] = 1
    return points


def test_a_ring_is_what_opencv_draws():
    _, io = golden("kamim_keypoints")
    whole = [place for place in io["stamp.xy"].tolist() if place[0] % 1 == place[1] % 1 == 0]
    assert whole
    for place, theirs in zip(io["stamp.xy"].tolist(), io["stamp.map"], strict=True):
        if place in whole:
            ours = rasters.ring(single(int(place[1]), int(place[0])))
            assert torch.equal(ours[0, 0], theirs.float())


def test_rings_around_fast_s_points_are_what_opencv_draws():
    _, io = golden("kamim_keypoints")
    starts = io["fast.xy"].split(io["fast.count"].tolist())
    for xy, theirs in zip(starts, io["fast.map"], strict=True):
        points = torch.zeros(1, 1, 192, 192)
        x, y = xy.long().unbind(1)
        points[0, 0, y, x] = 1
        assert torch.equal(rasters.ring(points)[0, 0], theirs.float())


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.5, 4.0])
def test_a_disk_is_all_within_a_radius(radius):
    place = torch.arange(17.0)
    distance = (place[:, None] - 5).square() + (place - 9).square()
    expected = (distance <= radius**2).float()
    assert torch.equal(rasters.disk(single(5, 9), radius)[0, 0], expected)


def test_a_gaussian_is_its_formula_and_the_nearest_point_counts():
    points = single(5, 4, 20, 24) + single(11, 15, 20, 24)
    drawn = rasters.gaussian(points, 2.0)[0, 0]
    for row, column in ((5, 4), (7, 5), (11, 12), (8, 9)):
        square = min((row - 5) ** 2 + (column - 4) ** 2, (row - 11) ** 2 + (column - 15) ** 2)
        assert drawn[row, column].item() == pytest.approx(exp(-square / 8), rel=1e-5)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_drawing_is_the_union_of_its_points_drawings(draw):
    places = [(0, 0), (3, 16), (9, 9), (10, 9), (16, 2)]
    together = draw(torch.stack([single(*place) for place in places]).amax(dim=0))
    alone = torch.stack([draw(single(*place)) for place in places]).amax(dim=0)
    assert torch.equal(together, alone)
    assert together.amin() == 0 and together.amax() == 1


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_drawing_turns_and_flips_with_its_points(draw):
    points = (torch.rand(2, 1, 15, 22) < 0.03).float()
    for turn in (lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.rot90(1, (2, 3))):
        torch.testing.assert_close(draw(turn(points)), turn(draw(points)))


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_what_is_unknown_is_no_point(draw):
    unknown = torch.full((1, 1, 9, 9), torch.nan)
    assert torch.equal(draw(unknown), torch.zeros(1, 1, 9, 9))
