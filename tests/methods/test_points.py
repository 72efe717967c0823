"""Points in space guide: a scene of another scale is the same scene, one that is turned is turned,
and nothing else about them changes."""

import pytest
import torch
from torch.testing import assert_close

from conftest import fixed, tiny
from sgmim.data.scenes import render
from sgmim.guidance.pointnet import PointNet
from sgmim.guidance.views import seen_as
from sgmim.losses import centered
from sgmim.masking import RandomMask, refine
from sgmim.methods.sgmim import SGMIM
from sgmim.pinhole import points

SIZE = 64
TARGETS = ["map", "coordinates", "normals"]


def room(turns=0):
    """Depth and camera of a made-up room, the camera turned by quarters around where it looks."""
    scene = render(torch.tensor([3, 5]), SIZE, "rooms")
    focal = scene["focal"]
    camera = torch.stack([focal, 1.25 * focal, torch.full_like(focal, 30.0), 0 * focal + 36], dim=1)
    depth = scene["depth"]
    for _ in range(turns):
        depth = depth.rot90(1, (2, 3))
        across, down, x, y = camera.unbind(1)
        camera = torch.stack([down, across, y, SIZE - x], dim=1)
    return depth, camera


def turned(vectors, turns):
    """A map of vectors as a camera sees it that was turned: pixels move, and axes with them."""
    for _ in range(turns):
        x, y, z = vectors.rot90(1, (2, 3)).unbind(1)
        vectors = torch.stack([y, -x, z], dim=1)
    return vectors


def view(kind, depth, camera):
    return seen_as(kind, depth, camera, classes=0, eps=1e-6)


def made(**options):
    torch.manual_seed(0)
    return SGMIM(tiny("vit", image_size=SIZE), extractor="pointnet", **options).eval()


def batch(method, depth, camera):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    return {"image": image, "depth": depth, "camera": camera, "key": torch.arange(2)}


def pointnet():
    """A PointNet, its encoder, and what hides half of 16 squares."""
    encoder = tiny("vit", image_size=SIZE)
    torch.manual_seed(0)
    return PointNet(encoder), encoder, RandomMask(encoder, ratio=0.5, size=16)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("kind", ["coordinates", "normals"])
def test_a_turned_scene_has_its_points_and_normals_turned(kind, turns):
    expected = turned(view(kind, *room()), turns)
    found = view(kind, *room(turns))
    assert torch.equal(found.isnan(), expected.isnan())
    known = expected.isfinite()
    assert known.float().mean() > 0.9
    assert_close(found[known], expected[known], rtol=0, atol=2e-4 if kind == "normals" else 1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_scene_changes_places_of_squares_and_the_axes_of_a_point_and_nothing_else(turns):
    """The MLP of a point has its weights turned back: then tokens only move."""
    net, encoder, mask = pointnet()
    other = PointNet(encoder)
    other.load_state_dict(net.state_dict())
    axes = torch.eye(3)
    for _ in range(turns):
        axes = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) @ axes
    with torch.no_grad():
        other.shared[0].weight.copy_(net.shared[0].weight @ torch.block_diag(axes, axes).T)
    hidden = mask(torch.arange(2))
    shown, moved = mask.part(hidden), mask.part(hidden.rot90(turns, (1, 2)))
    one = net(view("coordinates", *room()), shown, None, encoder)
    two = other(view("coordinates", *room(turns)), moved, None, encoder)
    order = torch.zeros(2, 16, dtype=torch.long)  # where the token of a square stands
    order.scatter_(1, shown.squares, torch.arange(8).expand(2, -1))
    order = order.view(2, 4, 4).rot90(turns, (1, 2)).flatten(1).gather(1, moved.squares)
    expected = one.gather(1, order[..., None].expand_as(one))
    assert_close(two, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(one, expected, atol=1e-2)


@pytest.mark.parametrize("target", TARGETS)
def test_a_scene_of_another_scale_is_the_same(target):
    method = made(target=target, standardize_eps=0.0)
    depth, camera = room()
    one, other = (method(batch(method, times * depth, camera)) for times in (1.0, 3.0))
    for name in one:
        assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)
    views = [method.guides[0].view(batch(method, times * depth, camera)) for times in (1.0, 3.0)]
    assert_close(views[0].given, views[1].given, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert_close(views[0].wanted, views[1].wanted, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_an_offset_of_the_depth_is_another_scene():
    depth, camera = room()
    one, other = view("coordinates", depth, camera), view("coordinates", depth + 2, camera)
    assert (one - other).abs().mean() > 0.05


def test_points_are_centered_and_of_one_size_whatever_lies_far_out():
    cloud = centered(points(*room()))
    assert_close(cloud.mean(dim=(2, 3)), torch.zeros(2, 3), rtol=0, atol=1e-5)
    distance = cloud.square().sum(dim=1).flatten(1).sort(dim=1).values
    middle = distance[:, int(0.1 * SIZE**2) : int(0.9 * SIZE**2)].mean(dim=1)
    assert_close(middle / 3, torch.ones(2), rtol=1e-4, atol=0)
    nowhere = centered(torch.full((1, 3, 8, 8), torch.nan))
    assert nowhere.isnan().all()
    assert (centered(torch.full((1, 3, 8, 8), 2.0)) == 0).all()


def test_the_order_of_the_pixels_of_a_square_says_nothing():
    net, encoder, mask = pointnet()
    given, hidden = view("coordinates", *room()), mask(torch.arange(2))
    given[0, :, :20, :20] = torch.nan
    squares = given.unfold(2, 16, 16).unfold(3, 16, 16).flatten(4)  # (b, 3, rows, columns, pixels)
    shuffled = squares[..., torch.randperm(256)].unflatten(4, (16, 16))
    shuffled = shuffled.transpose(3, 4).reshape(given.shape)
    part = mask.part(hidden)
    assert not torch.equal(given.nan_to_num(), shuffled.nan_to_num())
    assert_close(net(given, part, None, encoder), net(shuffled, part, None, encoder))


def test_a_square_of_which_nothing_is_known_is_the_token_for_nothing():
    net, encoder, mask = pointnet()
    given, hidden = view("coordinates", *room()), mask(torch.arange(2))
    holes = refine(hidden, encoder.patch)[:, None].expand_as(given).clone()
    part = mask.part(hidden)
    first = torch.zeros(2, 16, dtype=torch.bool).scatter(1, part.squares[:, :1], True)
    holes &= refine(first.view(2, 4, 4), 16)[:, None]
    found = net(given.masked_fill(holes, torch.nan), part, mask.rest(part), encoder)
    nothing = net.out(net.nothing)
    assert_close(found[:, 0], nothing.expand(2, -1))
    assert_close(found[:, 8:], nothing.expand(2, 8, -1))  # those that are kept but not shown
    assert not torch.isclose(found[:, 1:8], nothing).all(dim=2).any()
    found.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_an_unknown_pixel_is_not_among_the_points():
    net, encoder, mask = pointnet()
    flat = torch.zeros(1, 3, SIZE, SIZE)
    flat[..., ::2, :] = 1.0
    every = torch.ones(1, 4, 4, dtype=torch.bool)
    part = mask.part(every, 16)
    half = net(flat.where(flat == 1, torch.nan), part, None, encoder)
    alone = net(torch.ones_like(flat), part, None, encoder)
    assert_close(half, alone)


@pytest.mark.parametrize("target", TARGETS)
def test_it_needs_a_camera(target):
    assert made(target=target).needs == ("image", "depth", "camera")
    mlp = SGMIM(tiny("vit"), target=target)
    assert ("camera" in mlp.needs) == (target != "map")


def test_a_token_lies_in_the_middle_of_its_square():
    """Which of its cells comes first says nothing; where they are does."""
    method = made()
    fusion, encoder = method.fusion, method.encoder
    assert encoder.grid == (4, 4)
    context, square = torch.randn(1, 1, encoder.dim), torch.tensor([[0, 1, 4, 5]])
    other = torch.tensor([[2, 3, 6, 7]])
    features, cells = torch.randn(1, 2, encoder.dim), torch.tensor([[10, 11]])
    contexts = [(torch.cat([context, 2 * context.flip(-1)], 1), torch.cat([square, other], 1))]
    swapped = [(contexts[0][0], torch.cat([other, square], 1))]
    within = [(contexts[0][0], torch.cat([square.flip(1), other], 1))]
    one = fusion(features, cells, contexts)
    assert_close(one, fusion(features, cells, within))
    assert not torch.allclose(one, fusion(features, cells, swapped), atol=1e-5)


def test_altering_depth_where_it_is_shown_changes_the_answer():
    method, (depth, camera) = made(target="coordinates"), room()
    hidden = method.mask(torch.arange(2))
    fixed(method, hidden)
    whole = batch(method, depth, camera)
    shown, asked = method._parts(hidden, whole["key"])
    view = method.guides[0].view(whole)
    pixels = refine(hidden, 16)[:, None]
    features = torch.randn(2, 16, method.encoder.dim)
    answers = [
        method._guided(features, [given], [shown], asked.cells)
        for given in (view.given, view.given.where(pixels, 9.0), view.given.where(~pixels, 9.0))
    ]
    assert torch.equal(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2], atol=1e-4)
