"""What is put together of windows is what the model said of each."""

import math

import pytest
import torch

import trees
from conftest import golden
from sgmim.data.geometry import fit
from sgmim.errors import ConfigurationError
from sgmim.inference import Inference, resized

WINDOW = (32, 32)
MODES = [
    Inference(),
    *(Inference(mode="shift", windows=n, flip=flip) for n in (4, 7, 16) for flip in (False, True)),
    Inference(mode="slide"),
    Inference(mode="slide", stride=5, flip=True, at_once=3),
]


def images(*size, count=2):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))


def as_it_is(image):
    return image


@pytest.mark.parametrize("inference", MODES, ids=str)
@pytest.mark.parametrize("size", [(32, 32), (32, 33), (32, 97), (32, 128)])
def test_of_a_model_that_says_what_it_sees_the_image_comes_back(inference, size):
    image = images(*size)
    if inference.mode == "whole" and size != WINDOW:
        image = torch.full_like(image, 0.25)  # resizing forgets
    torch.testing.assert_close(inference(as_it_is, image, WINDOW), image)


@pytest.mark.parametrize("size", [(45, 61), (33, 40), (96, 64)])
def test_sliding_windows_cover_images_of_any_height_too(size):
    image = images(*size)
    torch.testing.assert_close(Inference(mode="slide")(as_it_is, image, WINDOW), image)


@pytest.mark.parametrize("inference", MODES, ids=str)
@pytest.mark.parametrize("size", [(5, 7), (20, 31), (48, 60), (352, 1216)])
def test_of_a_model_that_always_says_the_same_the_same_comes_back_at_the_images_size(
    inference, size
):
    said = inference(lambda image: torch.full_like(image[:, :1], 3), images(*size), WINDOW)
    torch.testing.assert_close(said, torch.full((2, 1, *size), 3.0))


@pytest.mark.parametrize("inference", MODES, ids=str)
def test_a_model_sees_its_own_size_and_no_more_than_asked_at_once(inference):
    seen = []

    def predict(image):
        seen.append(tuple(image.shape))
        return image

    inference(predict, images(40, 100, count=5), WINDOW)
    assert {shape[1:] for shape in seen} == {(3, *WINDOW)}
    assert max(shape[0] for shape in seen) <= inference.at_once


def test_images_do_not_see_each_other():
    def predict(image):
        return image.cumsum(dim=-1)

    image = images(32, 80, count=3)
    for inference in MODES[1:]:
        alone = [inference(predict, one[None], WINDOW)[0] for one in image]
        torch.testing.assert_close(inference(predict, image, WINDOW), torch.stack(alone))


def test_shifted_windows_with_the_published_offsets_are_the_authors():
    meta, io = golden("depth_eval")

    def predict(image):  # their stand-in for a network
        return image.mean(dim=1, keepdim=True) * torch.linspace(1, 2, image.shape[-1]) + 0.1

    count = meta["config"]["tta"]["shift_size"]
    inference = Inference(mode="shift", windows=count, flip=True, compat=True)
    ours = inference(predict, io["tta.image"], WINDOW)
    torch.testing.assert_close(ours, io["tta.prediction"], rtol=1e-6, atol=1e-6, equal_nan=True)


def test_on_kitti_the_published_offsets_leave_the_last_9_columns_to_nobody():
    image, published = images(352, 1216, count=1), Inference(mode="shift", compat=True)
    said = published(as_it_is, image, (352, 352))
    assert said[..., 1207:].isnan().all() and not said[..., :1207].isnan().any()
    lefts = [columns.start for _, columns in published.boxes((352, 1216), (352, 352))]
    assert lefts == [57 * number for number in range(16)]
    assert not Inference(mode="shift")(as_it_is, image, (352, 352)).isnan().any()


def test_on_nyu_two_windows_meet_both_ends_with_either_offsets():
    for compat in (False, True):
        inference = Inference(mode="shift", windows=2, compat=compat)
        boxes = inference.boxes((480, 640), (480, 480))
        assert [(box.start, box.stop) for _, box in boxes] == [(0, 480), (160, 640)]


def test_the_grid_of_512_x_683_has_two_columns_the_second_of_which_ends_with_the_image():
    boxes = Inference(mode="slide", stride=341).boxes((512, 683), (512, 512))
    assert boxes == [(slice(0, 512), slice(0, 512)), (slice(0, 512), slice(171, 683))]
    assert Inference(mode="slide").boxes((512, 683), (512, 512)) == boxes


def test_a_shorter_side_is_resized_before_windows_are_laid_out():
    seen = []

    def predict(image):
        seen.extend(image)
        return image

    image = images(48, 96, count=1)
    said = Inference(mode="slide", short=32)(predict, image, WINDOW)
    assert len(seen) == 3 and said.shape == image.shape  # 32 x 64 in strides of 21
    torch.testing.assert_close(seen[0], resized(image, (32, 64))[0, :, :, :32])


def test_with_flip_an_image_and_its_mirror_image_are_told_the_same():
    def predict(image):
        return image.cumsum(dim=-1)

    image, inference = images(32, 90), Inference(mode="shift", windows=5, flip=True)
    there = inference(predict, image, WINDOW)
    mirrored = inference(predict, image.flip(-1), WINDOW).flip(-1)
    torch.testing.assert_close(there, mirrored)
    plain = Inference(mode="shift", windows=5)(predict, image, WINDOW)
    assert not torch.allclose(there, plain)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"windows": 0}, "windows is 1 or more"),
        ({"mode": "shift", "compat": True, "windows": 1}, "windows is 2 or more"),
        ({"compat": True}, "of mode shift"),
        ({"stride": -1}, "stride is 0 or more"),
        ({"at_once": 0}, "at_once is 1 or more"),
    ],
)
def test_options_that_make_no_windows_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        Inference(**options)


def test_windows_that_leave_gaps_are_refused_with_what_would_not():
    image = images(32, 97)
    with pytest.raises(ConfigurationError, match="windows is to be 4 or more"):
        Inference(mode="shift", windows=math.floor(97 / 32))(as_it_is, image, WINDOW)
    with pytest.raises(ConfigurationError, match="stride 33 leaves gaps"):
        Inference(mode="slide", stride=33)(as_it_is, image, WINDOW)


def test_a_protocol_tells_what_matters_and_nothing_else():
    assert Inference().protocol() == {"mode": "whole", "flip": False}
    shift = Inference(mode="shift", flip=True, at_once=4).protocol()
    assert shift == {"mode": "shift", "windows": 16, "compat": False, "flip": True}


def test_what_says_one_thing_is_shown_the_middle_as_evaluation_loads_it():
    image = torch.from_numpy(trees.colored(60, 90, 3)).permute(2, 0, 1).contiguous()
    for options in ({}, {"interpolation": "bicubic"}, {"center": 1.0}):
        inference = Inference(mode="center", **options)
        shown = inference.fitted(image[None] / 255, (32, 32))[0]
        loaded = fit(
            {"image": image}, (32, 32), share=inference.share,
            interpolation=inference.interpolation,
        )["image"]  # fmt: skip
        assert (255 * shown - loaded).abs().max() <= 2  # bytes, rounded after each of two axes
    whole = Inference().fitted(image[None] / 255, (32, 32))[0]
    assert (255 * whole - fit({"image": image}, (32, 32))["image"]).abs().max() <= 1


def test_of_a_mirror_image_the_mean_of_the_logits_is_taken():
    image = torch.randn(2, 3, 8, 8)

    def predict(image):
        return image[:, :, 0, 0]

    assert torch.equal(Inference().of_all(predict, image), image[:, :, 0, 0])
    both = (image[:, :, 0, 0] + image[:, :, 0, -1]) / 2
    assert torch.equal(Inference(flip=True).of_all(predict, image), both)


def test_windows_are_for_maps_and_the_middle_is_for_classes():
    with pytest.raises(ConfigurationError, match="take center or whole"):
        _ = Inference(mode="slide").share
    with pytest.raises(ConfigurationError, match="says something of every pixel"):
        Inference(mode="center")(lambda image: image, torch.zeros(1, 3, 8, 8), (8, 8))
    with pytest.raises(ConfigurationError, match=r"inference.center is a share .* not 1.5"):
        Inference(center=1.5)
