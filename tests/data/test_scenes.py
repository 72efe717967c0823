import pickle
from multiprocessing import get_context

import pytest
import torch

from sgmim import draws, pinhole
from sgmim.data.batches import Batches
from sgmim.data.cameras import pixel_rays, rotate
from sgmim.data.geometry import RULES
from sgmim.data.raycast import cast
from sgmim.data.scenery import CLASSES, FLOOR, SKY
from sgmim.data.scenes import CHUNK, FARTHEST, Scenes, draw, render
from sgmim.errors import ConfigurationError

torch.set_num_threads(1)
KINDS = ["rooms", "streets"]


def keys(count, seed=0):
    return torch.tensor([draws.key(seed, index) for index in range(count)])


def points(depth, focal):
    """Pixels in the camera's frame, (b, 3, H, W)."""
    height, width = depth.shape[-2:]
    return pixel_rays(focal, height, width).unflatten(2, (height, width)) * depth


def share(where):
    return where.float().mean().item()


def test_a_scene_is_the_same_to_the_bit_in_any_batch():
    alone = [render(key[None], (40, 56), second=True) for key in keys(5)]
    whole = render(keys(70), (40, 56), second=True)
    shuffled = render(keys(70).flip(0), (40, 56), second=True)
    for name, values in whole.items():
        assert torch.equal(torch.cat([one[name] for one in alone]), values[:5]), name
        assert torch.equal(shuffled[name].flip(0), values), name


def test_every_key_has_its_own_scene():
    depth = render(keys(8), 16)["depth"].flatten(1)
    different = (depth[:, None] != depth[None]).float().mean(2)
    assert (different[~torch.eye(8, dtype=torch.bool)] > 0.5).all()


def test_a_larger_picture_shows_the_same_scene():
    coarse, fine = render(keys(4), 15), render(keys(4), 45)  # every third pixel has the same middle
    assert torch.allclose(fine["depth"][..., 1::3, 1::3], coarse["depth"], rtol=1e-4)


@pytest.mark.parametrize(("kind", "most"), [("rooms", 10.0), ("streets", FARTHEST)])
def test_depth_is_plausible(kind, most):
    scenes = render(keys(100), 16, kind)
    assert scenes["depth"].min() > 0.1 and scenes["depth"].max() <= most
    assert set(scenes["classes"].unique().tolist()) == {
        number for number, name in enumerate(CLASSES) if (kind, name) not in
        [("rooms", "sky"), ("streets", "ceiling")]
    }  # fmt: skip


def radius(group, name, point):
    """How far out in each solid points are, (b, 3, n): its surface is at 1."""
    x, y, z = (point[:, None] - group.center[..., None]).unbind(2)
    cos, sin = group.yaw.cos()[..., None], group.yaw.sin()[..., None]
    turned = torch.stack([cos * x - sin * z, y, sin * x + cos * z], 2)
    x, y, z = (turned.abs() / group.half[..., None]).unbind(2)
    shape = {
        "balls": (x**2 + y**2 + z**2).sqrt(),
        "cylinders": torch.maximum((x**2 + z**2).sqrt(), y),
        "logs": torch.maximum((y**2 + z**2).sqrt(), x),
    }
    return shape.get(name, torch.maximum(torch.maximum(x, y), z))


@pytest.mark.parametrize("kind", KINDS)
def test_no_ray_passes_through_a_solid_before_what_it_meets(kind):
    scene = draw(keys(16), kind)
    rays = rotate(scene.first.rotation, pixel_rays(scene.first.focal * 16, 16, 16))
    met, which = cast(scene.solids, scene.first.position, rays).min(1)

    def radii(way):
        point = scene.first.position[..., None] + way * met[:, None] * rays
        return torch.cat([radius(g, name, point) for name, g in vars(scene.solids).items()], 1)

    for way in (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98):
        assert (radii(way)[:, 0] < 1).all() and (radii(way)[:, 1:] > 0.999).all()
    entered = radii(1.001).gather(1, which[:, None])[:, 0] < 1
    assert share(entered[which > 0]) > 0.98  # the other rays only graze what they meet


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor_is_flat(kind):
    scene, seen = draw(keys(20), kind), render(keys(20), 32, kind)
    world = rotate(scene.first.rotation, points(seen["depth"], seen["focal"]).flatten(2))
    height = -(world + scene.first.position[..., None])[:, 1]
    floor = ((seen["classes"] == FLOOR) & (seen["depth"] < FARTHEST)).flatten(1)
    assert floor.any(1).sum() > 15
    assert height[floor].min() > -0.01 and height[floor].max() < 0.03  # a carpet is 2 cm thick


@pytest.mark.parametrize("kind", KINDS)
def test_normals_have_length_one_and_face_the_camera(kind):
    seen = render(keys(30), 24, kind)
    assert torch.allclose(seen["normals"].norm(dim=1), torch.ones(()), atol=1e-5)
    rays = points(torch.ones_like(seen["depth"]), seen["focal"])
    assert ((seen["normals"] * rays).sum(1) < 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_those_of_the_depth(kind):
    seen = render(keys(30), 48, kind)
    here, right, down = neighbors(points(seen["depth"], seen["focal"]))
    measured = torch.linalg.cross(down - here, right - here, dim=1)
    measured = measured / measured.norm(dim=1, keepdim=True)
    plane = here[:, 2] < 20  # farther away differences of float32 are too coarse
    for name in ("normals", "classes"):
        one, *others = neighbors(seen[name].float())
        for other in others:
            plane &= (other - one).abs().amax(1) < 1e-4
    assert share(plane) > 0.3
    agreeing = (measured * neighbors(seen["normals"])[0]).sum(1) > 0.999
    assert share(agreeing[plane]) > 0.97  # not from one thing to another, parallel one behind it


def neighbors(values):
    """Pixels, and those to their right and below."""
    return values[..., :-1, :-1], values[..., :-1, 1:], values[..., 1:, :-1]


@pytest.mark.parametrize("kind", KINDS)
def test_what_both_views_see_lies_at_one_place(kind):
    seen, size = render(keys(20), 64, kind, second=True), 64
    focal = seen["focal"][:, None, None]
    moved = rotate(seen["rotation"], points(seen["depth"], seen["focal"]).flatten(2))
    moved = moved + seen["translation"][..., None]
    column, row = (moved[:, :2] / moved[:, 2:] * focal + size / 2).floor().long().unbind(1)
    found = (moved[:, 2] > 0.1) & (row >= 0) & (row < size) & (column >= 0) & (column < size)
    found &= (seen["depth"] < FARTHEST).flatten(1)
    assert share(found) > 0.4
    place = (row * size + column).clamp(0, size**2 - 1)[:, None].expand(-1, 3, -1)

    other = points(seen["second_depth"], seen["focal"]).flatten(2).gather(2, place)
    normal = seen["second_normals"].flatten(2).gather(2, place)
    apart = (normal * (moved - other)).sum(1).abs() / moved[:, 2]  # from the plane that is seen
    assert share(apart[found] < 1e-3) > 0.8  # others are hidden, or at an edge
    nearer = moved[:, 2] < 0.8 * other[:, 2]
    assert share(nearer[found]) < 0.03  # at edges: else the second view would have seen them

    one, two = (seen[name].flatten(2).float() for name in ("image", "second_image"))
    moved = (one - two.gather(2, place)).abs().mean(1)
    still = (one - two).abs().mean(1)
    both = found & (apart < 1e-3)
    assert moved[both].mean() < 0.4 * still[both].mean()  # the rest is noise and sampling


@pytest.mark.parametrize("contrast", [1.0, 0.15])
def test_colors_do_not_give_depth_away(contrast):
    seen = render(keys(2400), 16, contrast=contrast)
    depth = seen["depth"].flatten(1)
    red, green, blue = (seen["image"].long() // 32).flatten(2).unbind(1)
    color = 64 * red + 8 * green + blue
    known, asked = (depth[:1800], color[:1800]), (depth[1800:], color[1800:])
    middle = known[0].median()
    guess = torch.full((512,), middle.item())
    for number in known[1].unique():
        guess[number] = known[0][known[1] == number].median()

    def relative_error(prediction):
        return ((prediction - asked[0]).abs() / asked[0]).mean()

    by_color, by_none = relative_error(guess[asked[1]]), relative_error(middle)
    assert 0.9 * by_none < by_color < 1.15 * by_none


def test_scenes_are_a_source():
    scenes = Scenes(3, size=(16, 24), seed=5)
    assert len(scenes) == len(scenes.names) == 3
    assert scenes.has <= {"image", "depth", "camera", "second", *RULES}
    sample = scenes.read(2)
    shapes = {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()}
    assert shapes == {
        "image": (torch.uint8, (3, 16, 24)),
        "second": (torch.uint8, (3, 16, 24)),
        "depth": (torch.float32, (1, 16, 24)),
        "normals": (torch.float32, (3, 16, 24)),
        "classes": (torch.float32, (1, 16, 24)),
        "camera": (torch.float32, (4,)),
    }
    assert set(scenes.read(0, {"depth"})) == {"depth"}
    with pytest.raises(IndexError):
        scenes.read(3)


def test_a_source_holds_what_is_rendered():
    scenes, made = Scenes(CHUNK + 2, size=16, seed=5), render(keys(CHUNK + 2, seed=5), 16)
    for index in (CHUNK + 1, 0):
        sample = scenes.read(index)
        assert torch.equal(sample["image"], made["image"][index])
        assert torch.equal(sample["classes"], made["classes"][index].float())
        assert torch.allclose(sample["depth"], made["depth"][index], rtol=1 / 2000)
        assert torch.allclose(sample["normals"], made["normals"][index], atol=1 / 2000)
    sample["image"].zero_()
    assert torch.equal(scenes.read(0)["image"], made["image"][0])


def test_a_second_picture_is_made_when_it_is_asked_for_and_changes_no_first():
    scenes, made = Scenes(3, size=16), render(keys(3), 16, second=True)
    first = scenes.read(1, {"image"})["image"]
    assert scenes._kept["views"].item() == 1 and not scenes._kept["second"].any()
    sample = scenes.read(1)
    assert torch.equal(sample["image"], first) and torch.equal(first, made["image"][1])
    assert torch.equal(sample["second"], made["second_image"][1])


def test_all_scenes_can_be_made_beforehand():
    assert list(Scenes(CHUNK + 2, size=8).prepare()) == [CHUNK, CHUNK + 2]


def test_a_pickled_source_is_small_and_gives_the_same():
    scenes = Scenes(200, size=32)
    before = scenes.read(7)
    data = pickle.dumps(scenes)
    assert len(data) < 20_000
    after = pickle.loads(data).read(7)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.skipif("fork" not in torch.multiprocessing.get_all_start_methods(), reason="no fork")
def test_forked_processes_share_what_they_make():
    scenes = Scenes(4, size=8)
    child = get_context("fork").Process(target=scenes.read, args=(0,))
    child.start()
    child.join(30)
    assert child.exitcode == 0 and (scenes._kept["views"] == 2).all()
    assert torch.equal(scenes._kept["image"], render(keys(4), 8)["image"])


def test_scenes_can_be_trained_on():
    batches = Batches(Scenes(8, size=32), size=(16, 16), batch=4, needs=("image", "depth"))
    batch = next(batches(0))
    assert batch["image"].shape == (4, 3, 16, 16) and batch["depth"].shape == (4, 1, 16, 16)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "room"}, "did you mean 'rooms'"),
        ({"count": 0}, "ask for 1 or more"),
        ({"count": 2_000_000}, r"would take 114 GiB of memory: .* or for 1118481 or fewer"),
        ({"size": 1024}, "1023"),
        ({"size": 0}, "0 x 0"),
    ],
)
def test_what_cannot_be_made_is_refused(options, told):
    with pytest.raises(ConfigurationError, match=told):
        Scenes(**options)


def test_the_sky_is_far_away():
    seen = render(keys(30), 24, "streets")
    assert (seen["depth"][seen["classes"] == SKY] == FARTHEST).all()


def test_the_camera_of_a_scene_is_the_one_that_made_its_picture():
    scene = Scenes(4, size=(32, 48), kind="rooms", seed=1).read(2)
    space = pinhole.points(scene["depth"][None], scene["camera"][None])
    made = pinhole.normals(space)
    agreement = (made * scene["normals"]).sum(dim=1)
    assert agreement.nanmedian() > 0.999
