import numpy as np
import pytest
import torch

from sgmim import draws
from sgmim.data.colors import SETS, byol, changed, glp, hsv, mmseg, multimae, rgb

NEVER, ALWAYS = 0.99, 0.0


@pytest.fixture
def image():
    return torch.randint(256, (3, 40, 60), dtype=torch.uint8, generator=torch.Generator())


def chances(*first, others=0.25):
    return [*first, *[others] * (12 - len(first))]


def as_bytes(levels):
    return np.clip(np.rint(levels), 0, 255)


def same(ours, theirs, within=0):
    assert np.abs(ours.numpy().astype(float) - theirs).max() <= within


def test_hue_saturation_and_value_are_opencvs(image):
    cv2 = pytest.importorskip("cv2")
    theirs = cv2.cvtColor(image.permute(1, 2, 0).numpy().astype(np.float32), cv2.COLOR_RGB2HSV)
    h, s, v = hsv(image).numpy()
    turn = np.abs(60 * h % 360 - theirs[..., 0])
    assert np.minimum(turn, 360 - turn).max() < 1e-2
    assert np.abs(s - theirs[..., 1]).max() < 1e-5 and np.abs(v - theirs[..., 2]).max() < 1e-5


def test_colors_come_back_from_hue_saturation_and_value():
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    image = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)
    assert torch.equal(rgb(*hsv(image)), image)
    h, s, v = hsv(image)
    assert torch.equal(rgb(h + 6, s, v), image)


def test_brightness_contrast_and_gamma_of_glp_are_albumentations(image):
    x = image.numpy().astype(float)
    light = as_bytes(x * 1.1 + 255 * -0.12)
    same(glp(image, chances(ALWAYS, NEVER, NEVER, 0.75, 0.2)), light, within=1)
    power = glp(image, chances(NEVER, ALWAYS, NEVER, 0.0, 0.0, 0.9))
    same(power, as_bytes(255 * (x / 255) ** 1.16), within=1)
    both = glp(image, chances(ALWAYS, ALWAYS, NEVER, 0.75, 0.2, 0.9))
    same(both, as_bytes(255 * (light / 255) ** 1.16), within=1)


def test_the_shift_of_colors_of_glp_is_opencvs(image):
    cv2 = pytest.importorskip("cv2")
    ours = glp(image, chances(NEVER, NEVER, ALWAYS, 0.0, 0.0, 0.0, 0.8, 0.1, 0.9))
    wide = image.permute(1, 2, 0).numpy().astype(np.float32)
    h, s, v = np.moveaxis(cv2.cvtColor(wide, cv2.COLOR_RGB2HSV), -1, 0)
    shifted = (h + 24) % 360, np.clip(s - 24 / 255, 0, 1), np.clip(v + 16, 0, 255)
    theirs = cv2.cvtColor(np.stack(shifted, -1).astype(np.float32), cv2.COLOR_HSV2RGB)
    same(ours, np.moveaxis(theirs, -1, 0), within=0.51)


@pytest.mark.parametrize("late", [ALWAYS, NEVER])
def test_brightness_and_contrast_of_mmseg(image, late):
    x = image.numpy().astype(float)
    ours = mmseg(image, chances(ALWAYS, ALWAYS, late, NEVER, NEVER, 0.75, 0.9))
    same(ours, as_bytes(1.4 * as_bytes(x + 16)), within=1)


def test_the_coin_of_mmseg_says_whether_contrast_comes_before_color(image):
    cv2 = pytest.importorskip("cv2")

    def colored(x):
        wide = np.moveaxis(x, 0, -1).astype(np.float32)
        h, s, v = np.moveaxis(cv2.cvtColor(wide, cv2.COLOR_RGB2HSV), -1, 0)
        shifted = np.stack([(h + 18) % 360, np.clip(s * 1.3, 0, 1), v], -1).astype(np.float32)
        return as_bytes(np.moveaxis(cv2.cvtColor(shifted, cv2.COLOR_HSV2RGB), -1, 0))

    x, told = image.numpy().astype(float), (0.5, 0.9, 0.8, 0.75)
    late, early = (
        mmseg(image, chances(NEVER, ALWAYS, coin, ALWAYS, ALWAYS, *told))
        for coin in (ALWAYS, NEVER)
    )
    same(late, as_bytes(1.4 * colored(x)), within=2)
    same(early, colored(as_bytes(1.4 * x)), within=1)


def test_the_jitter_of_multimae_is_torchvisions_in_any_order(image):
    from torchvision.transforms.v2 import functional as TV

    order, amounts = (0.9, 0.1, 0.5, 0.3), (0.2, 0.7, 0.6, 0.1)
    theirs = TV.adjust_contrast(image, 0.6 + 0.7 * 0.8)
    theirs = TV.adjust_hue(theirs, -0.2 + 0.1 * 0.4)
    theirs = TV.adjust_saturation(theirs, 0.5 + 0.6)
    theirs = TV.adjust_brightness(theirs, 1 - 0.1255 + 0.2 * 0.251)
    ours = multimae(image, chances(ALWAYS, NEVER, *amounts, *order))
    assert torch.equal(ours, theirs)
    grey = multimae(image, chances(NEVER, ALWAYS))
    x = image.numpy().astype(float)
    same(grey, np.floor(0.2989 * x[0] + 0.587 * x[1] + 0.114 * x[2])[None], within=1)


def test_what_crops_are_compared_in_is_torchvisions(image):
    from torchvision.transforms.v2 import functional as TV

    def ours(*first):
        return byol(image, [*first, *[0.25] * (13 - len(first))], blurred=0.5, solarized=0.2)

    order, amounts = (0.9, 0.1, 0.5, 0.3), (0.2, 0.7, 0.6, 0.1)
    jittered = TV.adjust_contrast(image, 0.6 + 0.7 * 0.8)
    jittered = TV.adjust_hue(jittered, -0.1 + 0.1 * 0.2)
    jittered = TV.adjust_saturation(jittered, 0.8 + 0.6 * 0.4)
    jittered = TV.adjust_brightness(jittered, 0.6 + 0.2 * 0.8)
    assert torch.equal(ours(0.79, NEVER, NEVER, NEVER, 0.0, *amounts, *order), jittered)
    grey = TV.rgb_to_grayscale(image, num_output_channels=3)
    assert torch.equal(ours(NEVER, 0.19, NEVER, NEVER), grey)
    blurred = TV.gaussian_blur(image, [13, 13], [2.0, 2.0])
    assert torch.equal(ours(NEVER, NEVER, 0.49, NEVER, 1.0), blurred)
    turned = image.where(image < 128, 255 - image)
    assert torch.equal(ours(NEVER, NEVER, NEVER, 0.19), turned)
    assert torch.equal(ours(NEVER, NEVER, 0.51, 0.21), image)


def test_a_crop_of_few_pixels_is_blurred_all_the_same():
    few = torch.randint(256, (3, 2, 5), dtype=torch.uint8)
    assert byol(few, [0.99] * 2 + [0.0, 0.99] + [1.0] * 9, blurred=1.0, solarized=0.0).shape == (
        3,
        2,
        5,
    )


@pytest.mark.parametrize("name", ["mmseg", "multimae", "croco"])
def test_what_is_grey_stays_grey(name):
    grey = torch.randint(256, (1, 20, 20), dtype=torch.uint8).repeat(3, 1, 1)
    for index in range(30):
        ours = changed(draws.key(0, 0, index), grey, name).int()
        assert (ours - ours[:1]).abs().max() <= 1


def test_glp_colors_what_is_grey_as_opencv_does():
    """Its shift of saturation is a sum: grey, of hue 0, becomes reddish."""
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    ours = glp(grey, chances(NEVER, NEVER, ALWAYS, 0.0, 0.0, 0.0, 0.5, 1.0, 0.5)).int()
    assert (ours[0] == 100).all() and (ours[1] == 88).all() and (ours[2] == 88).all()


@pytest.mark.parametrize(("name", "most"), [("glp", 1 / 8), ("mmseg", 1 / 16), ("multimae", 0.35)])
def test_as_many_images_are_left_alone_as_told(name, most, image):
    image = image[:, :8, :8]
    same = [torch.equal(changed(draws.key(0, 1, i), image, name), image) for i in range(400)]
    assert sum(same) / 400 == pytest.approx(most, abs=0.06)


@pytest.mark.parametrize("name", [name for name in SETS if name != "none"])
def test_new_colors_depend_on_the_key_alone_and_leave_the_image_alone(name, image):
    kept = image.clone()
    torch.manual_seed(0)
    once = [changed(draws.key(0, 0, index), image, name) for index in range(10)]
    torch.manual_seed(1)
    again = [changed(draws.key(0, 0, index), image, name) for index in range(10)]
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    assert len({tuple(each.flatten().tolist()) for each in once}) > 5
    assert torch.equal(image, kept) and {each.dtype for each in once} == {torch.uint8}


def test_no_set_of_colors_changes_nothing(image):
    assert changed(1, image, "none") is image
