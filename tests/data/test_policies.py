import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import TrivialAugmentWide
from torchvision.transforms.v2.functional import resize

import trees
from sgmim import draws
from sgmim.data import policies
from sgmim.data.augmentation import Augmentation
from sgmim.data.geometry import Crop, cut, fit, mean_color
from sgmim.data.policies import POLICY, Erasing
from sgmim.errors import ConfigurationError

RAND = "rand-m9-mstd0.5-inc1"
IMAGE = torch.from_numpy(trees.colored(48, 64, 2)).permute(2, 0, 1).contiguous()


def changed(key, policy=RAND):
    return policies.changed(key, IMAGE, policy, "imagenet", "bicubic")


@pytest.mark.parametrize("policy", [RAND, policies.TRIVIAL])
def test_a_policy_is_a_function_of_the_key_alone(policy):
    before = IMAGE.clone()
    one = [changed(key, policy) for key in range(16)]
    torch.manual_seed(99), np.random.seed(99)
    again = [changed(key, policy) for key in range(16)]
    for first, second in zip(one, again, strict=True):
        assert first.dtype == torch.uint8 and torch.equal(first, second)
    assert sum(not torch.equal(each, IMAGE) for each in one) >= 4  # of 12 expected
    assert torch.equal(IMAGE, before)


def test_trivial_is_torchvisions():
    with draws.borrowed(draws.key(3, POLICY)):
        theirs = TrivialAugmentWide()(IMAGE)
    assert torch.equal(changed(3, policies.TRIVIAL), theirs)


def test_what_comes_in_at_the_borders_has_the_mean_color():
    mean = mean_color("imagenet")[:, None]
    corners = torch.stack([changed(key)[:, [0, 0, -1, -1], [0, -1, 0, -1]] for key in range(30)])
    assert ((corners.int() - mean.int()).abs() <= 1).all(dim=1).any()


def test_noise_is_erased_with_colors_around_the_mean_and_in_as_many_images_as_told():
    erase, changes = Erasing(0.5), []
    for key in range(60):
        image = erase(key, IMAGE, "imagenet")
        other = (image != IMAGE).any(dim=0)
        changes.append(other.float().mean().item())
        assert torch.equal(image, erase(key, IMAGE, "imagenet"))
    hit = [share for share in changes if share > 0.01]
    assert 18 < len(hit) < 42 and min(hit) > 0.01 and max(hit) < 0.35
    noise = Erasing(1.0)(1, IMAGE, "imagenet")[:, (noise_of(1) != IMAGE).any(dim=0)].float()
    assert (noise.mean(dim=1) - mean_color("imagenet")).abs().max() < 12 and noise.std() > 40


def noise_of(key):
    return Erasing(1.0)(key, IMAGE, "imagenet")


def test_black_is_black():
    image = Erasing(1.0, "black")(0, IMAGE, "imagenet")
    hole = (image != IMAGE).any(dim=0)
    assert hole.any() and (image[:, hole] == 0).all() and torch.equal(image, image.clone())


def test_all_of_an_image_is_taken_where_that_is_told():
    sample = Augmentation(crop="whole", flip=0.0)(5, {"image": IMAGE}, (24, 24))
    theirs = resize(IMAGE, [24, 24], antialias=True)
    assert (sample["image"].int() - theirs.int()).abs().max() <= 1


def test_bicubic_is_torchvisions_and_leaves_maps_alone():
    depth = torch.rand(1, 48, 64)
    crop = Crop(0, 0, 48, 64)
    found = cut({"image": IMAGE, "depth": depth}, crop, (31, 40), interpolation="bicubic")
    theirs = resize(IMAGE, [31, 40], interpolation=3, antialias=True)
    assert (found["image"].int() - theirs.int()).abs().max() <= 1
    plain = cut({"image": IMAGE, "depth": depth}, crop, (31, 40))
    assert torch.equal(found["depth"], plain["depth"])
    assert not torch.equal(found["image"], plain["image"])
    shown = fit({"image": IMAGE}, (24, 24), share=0.5, interpolation="bicubic")["image"]
    middle = resize(IMAGE[:, 12:36, 20:44], [24, 24], interpolation=3, antialias=True)
    assert torch.equal(shown, middle)


def test_policies_do_not_go_with_maps_and_have_to_be_known():
    with pytest.raises(ConfigurationError, match="turns and shears images, on which depth"):
        Augmentation(policy=RAND).check(("image", "depth"))
    Augmentation(policy=RAND).check(("image", "label"))
    for wrong in ("randaugment-x", "augmix", "rand-x9"):
        with pytest.raises(ConfigurationError, match="polic"):
            Augmentation(policy=wrong)
    with pytest.raises(ConfigurationError, match=r"erasing.probability is from 0 to 1, not 2"):
        Erasing(2.0)
