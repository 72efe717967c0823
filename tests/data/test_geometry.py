import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from conftest import golden
from sgmim import draws
from sgmim.data import geometry
from sgmim.data.crops import random_crop
from sgmim.data.geometry import (
    Crop,
    center_crop,
    cut,
    fit,
    normalize,
    unnormalize,
)
from sgmim.errors import ConfigurationError
from sgmim.pinhole import points

SIZES = [(375, 500), (500, 375), (224, 224), (100, 1000), (1000, 100), (1, 7), (1, 1)]


def keys(count):
    return [draws.key(0, 0, index) for index in range(count)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_crop_lies_inside_the_image(height, width):
    for key in keys(200):
        top, left, h, w, *_ = random_crop(key, height, width)
        assert 0 <= top <= top + h <= height and 0 <= left <= left + w <= width and h > 0 < w


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_crops_are_spread_as_torchvisions(height, width):
    torch.manual_seed(0)
    image, theirs = torch.empty(1, height, width), []
    for _ in range(1000):
        theirs.append(RandomResizedCrop.get_params(image, [0.3, 1.0], [3 / 4, 4 / 3]))
    ours = [random_crop(key, height, width, scale=(0.3, 1.0))[:4] for key in keys(1000)]
    ours, theirs = torch.tensor(ours).float(), torch.tensor(theirs).float()
    spread = torch.tensor([height, width, height, width])
    assert ((ours.mean(0) - theirs.mean(0)).abs() / spread < 0.03).all()
    assert ((ours.std(0) - theirs.std(0)).abs() / spread < 0.03).all()


def test_a_crop_depends_on_its_key_alone():
    torch.manual_seed(0)
    once = [random_crop(key, 375, 500) for key in keys(20)]
    torch.manual_seed(1)
    assert once == [random_crop(key, 375, 500) for key in keys(20)]
    assert len(set(once)) == 20


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_the_share_of_mirrors_is_as_asked(flip):
    mirrored = [random_crop(key, 30, 40, flip=flip).flip for key in keys(1000)]
    assert abs(sum(mirrored) / 1000 - flip) < 0.03


def test_image_and_maps_get_the_same_crop():
    y, x = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    place = torch.stack([y, x, y + x])
    sample = {
        "image": place.to(torch.uint8),
        "depth": place[:1].float(),
        "classes": place[1:2].float(),
        "label": torch.tensor(3),
    }
    for key in keys(10):
        crop = random_crop(key, 60, 80)
        ours = cut(sample, crop, (24, 32))
        assert {tuple(value.shape[1:]) for name, value in ours.items() if name != "label"} == {
            (24, 32)
        }
        assert (ours["image"][0] - ours["depth"][0]).abs().max() <= 1
        assert (ours["image"][1] - ours["classes"][0]).abs().max() <= 2
        assert ours["label"] == 3


def test_a_crop_of_the_asked_size_is_copied_as_it_is():
    image = torch.arange(3 * 8 * 9, dtype=torch.uint8).view(3, 8, 9)
    ours = cut({"image": image}, Crop(2, 3, 4, 5, flip=True), (4, 5))["image"]
    assert torch.equal(ours, image[:, 2:6, 3:8].flip(-1))


def test_classes_are_never_blended():
    classes = torch.randint(0, 2, (1, 50, 50)) * 7.0
    ours = cut({"classes": classes}, Crop(3, 5, 40, 41), (17, 13))["classes"]
    assert set(ours.unique().tolist()) == {0.0, 7.0}


def test_a_mirror_turns_normals_around():
    normals = torch.randn(3, 8, 8)
    kept = normals.clone()
    ours = cut({"normals": normals}, Crop(0, 0, 8, 8, flip=True), (8, 8))["normals"]
    assert torch.equal(ours, normals.flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1))
    assert torch.equal(normals, kept)


def test_an_unknown_pixel_leaks_no_number():
    depth = torch.rand(1, 40, 40)
    holed = depth.clone()
    holed[0, 10:12, 20] = torch.nan
    whole, ours = (
        cut({"depth": map}, Crop(0, 0, 40, 40), (20, 20))["depth"] for map in (depth, holed)
    )
    unknown = ours.isnan()
    assert 0 < unknown.sum() <= 3 * 3
    assert unknown[0, 5, 10]
    assert torch.equal(ours[~unknown], whole[~unknown])


@pytest.mark.parametrize("name", ["sparse", "depth"])
def test_a_sparse_map_stays_as_sparse(name):
    sparse = torch.where(torch.rand(1, 100, 100) < 0.1, 1.0, torch.nan)
    ours = cut({name: sparse}, Crop(0, 0, 100, 100), (50, 50))[name]
    assert 0.05 < ours.isfinite().float().mean() < 0.15


@pytest.mark.parametrize("number", [0, 1])
def test_it_crops_and_resizes_as_sgmim_does(number):
    meta, io = golden("sgmim_transform")
    recorded = meta["config"]["crops"][number]
    crop = Crop(*(recorded[name] for name in ("top", "left", "height", "width", "flip")))
    size = (meta["config"]["input_size"],) * 2
    sample = {
        "image": io[f"{number}.image_rgb"].permute(2, 0, 1),
        "depth": io[f"{number}.depth_u16"][None].float() / 2**16,
    }
    ours = cut(sample, crop, size)

    theirs = unnormalize(io[f"{number}.x"][None]).flip(1)  # they feed blue, green, red
    error = (normalize(ours["image"][None]) - normalize_float(theirs)).abs()
    assert error.max() < 2e-2 and error.mean() < 1e-3
    torch.testing.assert_close(ours["depth"], io[f"{number}.depth"], rtol=0, atol=1e-4)


def normalize_float(image):
    return normalize((image * 255).round().to(torch.uint8))


def test_the_center_crop_is_the_usual_resize_and_crop():
    assert center_crop(375, 500, 1.0, 0.875) == Crop(23, 86, 328, 328)
    assert center_crop(375, 500, 2.0) == Crop(62, 0, 250, 500)


@pytest.mark.parametrize("share", [None, 0.875])
def test_for_evaluation_every_image_gets_the_size(share):
    for height, width in SIZES:
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        assert fit({"image": image}, (32, 48), share=share)["image"].shape == (3, 32, 48)


@pytest.mark.parametrize("name", ["imagenet", "half", "none"])
def test_colors_come_back_from_normalization(name):
    image = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    torch.testing.assert_close(unnormalize(normalize(image, name), name), image / 255)


def test_imagenet_colors_are_standardized():
    grey = torch.full((1, 3, 1, 1), 128, dtype=torch.uint8)
    theirs = [(128 / 255 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert normalize(grey).flatten().tolist() == pytest.approx(theirs, rel=1e-5)


def test_an_unknown_normalization_is_met_with_those_there_are():
    with pytest.raises(ConfigurationError, match="did you mean 'imagenet'"):
        normalize(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "imagnet")


def test_normalizing_under_inference_mode_does_not_spoil_it_for_training():
    geometry._statistics.cache_clear()
    with torch.inference_mode():
        normalize(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    image = torch.zeros(1, 3, 2, 2, requires_grad=True)
    unnormalize(image).sum().backward()
    assert image.grad is not None


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("vertical_flip", [False, True])
def test_points_move_to_where_their_middles_lie(flip, vertical_flip):
    marks = torch.zeros(1, 40, 60)
    marks[0, 10, 20] = marks[0, 11, 50] = marks[0, 2, 30] = 1
    crop = Crop(4, 15, 24, 40, flip=flip, vertical_flip=vertical_flip)
    ours = cut({"fast": marks}, crop, (12, 20))["fast"]
    expected = torch.zeros(1, 12, 20)
    expected[0, 3, 2] = expected[0, 3, 17] = 1  # the third lies above the crop
    axes = [-1] * flip + [-2] * vertical_flip
    torch.testing.assert_close(ours, expected.flip(axes), rtol=0, atol=0)


def test_a_crop_that_changes_nothing_leaves_every_point():
    marks = (torch.rand(1, 30, 40) > 0.9).float()
    ours = cut({"fast": marks}, Crop(0, 0, 30, 40), (30, 40))["fast"]
    torch.testing.assert_close(ours, marks, rtol=0, atol=0)


def test_upended_normals_look_the_other_way_up():
    normals = torch.randn(3, 8, 8)
    ours = cut({"normals": normals}, Crop(0, 0, 8, 8, vertical_flip=True), (8, 8))["normals"]
    expected = normals.flip(-2) * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("vertical_flip", [False, True])
def test_depth_taken_to_space_after_a_crop_is_the_space_of_before(flip, vertical_flip):
    camera = torch.tensor([30.0, 33.0, 21.0, 15.0])
    depth = torch.rand(1, 32, 48) + 1
    crop = Crop(8, 4, 16, 24, flip=flip, vertical_flip=vertical_flip)
    # as vectors that move, and are mirrored, with the picture
    before = {"depth": depth, "camera": camera, "normals": points(depth[None], camera[None])[0]}
    after = cut(before, crop, (16, 24))
    ours = points(after["depth"][None], after["camera"][None])[0]
    torch.testing.assert_close(ours, after["normals"])


def test_the_camera_of_a_crop_made_larger_has_longer_focal_lengths():
    camera = torch.tensor([30.0, 30.0, 20.0, 10.0])
    ours = cut({"camera": camera}, Crop(0, 10, 20, 20), (40, 60))["camera"]
    torch.testing.assert_close(ours, torch.tensor([90.0, 60.0, 30.0, 20.0]))


def test_without_antialiasing_it_is_torchs_plain_bilinear():
    image = torch.randint(256, (3, 40, 60), dtype=torch.uint8)
    crop = Crop(3, 5, 30, 42)
    ours = cut({"image": image}, crop, (12, 15), antialias=False)["image"]
    theirs = resized_crop(image, 3, 5, 30, 42, [12, 15], antialias=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert (ours != cut({"image": image}, crop, (12, 15))["image"]).any()


def test_half_of_the_crops_stand_on_their_heads_and_no_other_draw_changes():
    upended = [random_crop(key, 30, 40, vertical_flip=0.5) for key in keys(1000)]
    assert 430 < sum(crop.vertical_flip for crop in upended) < 570
    assert [crop[:5] for crop in upended] == [random_crop(key, 30, 40)[:5] for key in keys(1000)]
