import numpy as np
import pytest
import torch

from sgmim import draws
from sgmim.data.augmentation import Augmentation, CutDepth
from sgmim.data.batches import Batches
from sgmim.data.crops import Jitter, random_crop
from sgmim.data.geometry import cut, normalize, padded
from sgmim.data.scenes import Scenes
from sgmim.errors import ConfigurationError


def keys(count):
    return [draws.key(0, 0, index) for index in range(count)]


def sample(height=40, width=60):
    """Every map says where its pixels were."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([y, x, y + x])
    return {
        "image": place.byte(),
        "depth": place[1:2].float(),
        "classes": place[:1].float(),
        "edges": place[:1].byte(),
        "frame": torch.tensor([375.0, 1242.0, 23.0, 13.0]),
    }


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_by_default_a_sample_is_a_random_resized_crop_and_nothing_else():
    for key in keys(20):
        theirs = cut(sample(), random_crop(key, 40, 60), (16, 24))
        same(Augmentation()(key, sample(), (16, 24)), theirs)


def test_batches_have_no_augmentation_that_was_not_asked_for():
    scenes = Scenes(4, size=32)
    batch = next(Batches(scenes, size=(16, 16), batch=4, needs=("image", "depth"), seed=3)())
    for place, index in enumerate(batch["index"].tolist()):
        key = draws.key(3, 0, index)
        theirs = cut(scenes.read(index, {"image", "depth"}), random_crop(key, 32, 32), (16, 16))
        torch.testing.assert_close(batch["depth"][place], theirs["depth"], rtol=0, atol=0)
        image = normalize(theirs["image"][None])[0]
        torch.testing.assert_close(batch["image"][place], image, rtol=0, atol=0)


@pytest.mark.parametrize("how", [{"crop": "window"}, {"crop": "window", "rotation": 2.5}])
def test_a_window_is_joint_for_image_and_maps_and_copies_their_pixels(how):
    for key in keys(20):
        ours = Augmentation(**how)(key, sample(), (24, 24))
        assert all(ours[name].shape[1:] == (24, 24) for name in ("image", "depth", "classes"))
        known = ours["depth"][..., 3:-3, 3:-3].isfinite()  # beside the corners colors are blended
        for channel, name in ((1, "depth"), (0, "classes")):
            error = (ours["image"][channel] - ours[name])[..., 3:-3, 3:-3]
            assert error[known].abs().max() <= 1
        torch.testing.assert_close(ours["edges"] * 255, ours["classes"], equal_nan=True)
        assert torch.equal(ours["frame"], sample()["frame"])


def test_where_the_image_is_too_small_the_border_is_mean_and_unknown():
    jitter = Jitter(within=(30, 20), times=(1.0, 1.0))
    ours = Augmentation(crop="jitter", jitter=jitter)(keys(1)[0], sample(), (32, 32))
    assert ours["classes"][:, :20, :30].isfinite().all()
    for name in ("depth", "classes", "edges"):
        assert ours[name][:, 20:].isnan().all() and ours[name][:, :, 30:].isnan().all()
    border = normalize(ours["image"][None])[0][:, 20:]
    assert border.abs().max() < 0.5 / 255 / 0.22
    black = padded({"image": torch.full((3, 4, 4), 9).byte()}, (6, 4), "none")["image"]
    assert (black[:, :4] == 9).all() and (black[:, 4:] == 0).all()


def test_samples_of_any_size_are_joined_in_a_batch():
    scenes = Scenes(4, size=(24, 40))
    options = {"needs": ("image", "classes", "depth"), "crop": "jitter", "colors": "mmseg"}
    options["jitter"] = Jitter((40, 24))
    batch = next(Batches(scenes, size=(32, 32), batch=4, **options)())
    assert batch["image"].shape == (4, 3, 32, 32) and batch["image"].isfinite().all()
    assert 0.2 < batch["classes"].isfinite().float().mean() < 1
    classes = batch["classes"][batch["classes"].isfinite()]
    assert torch.equal(classes, classes.round())


@pytest.mark.parametrize("workers", [0, 2])
def test_every_augmentation_depends_on_the_key_alone(workers):
    options = {
        "crop": "jitter", "jitter": Jitter((64, 64)), "colors": "glp", "rotation": 2.5,
        "cut_depth": CutDepth(1.0, 10.0), "needs": ("image", "depth"), "workers": workers,
    }  # fmt: skip
    scenes = Scenes(4, size=32)
    torch.manual_seed(workers)
    batch = next(Batches(scenes, size=(16, 16), batch=4, **options)())
    torch.manual_seed(7)
    options |= {"workers": 0}
    same(batch, next(Batches(scenes, size=(16, 16), batch=4, **options)()))


def test_cut_depth_paints_the_authors_columns_from_top_to_bottom():
    """GLPDepth's lines, in numpy."""
    before, cut_depth = sample(), CutDepth(1.0, max_depth=30.0)
    before["depth"][0, 5:9] = torch.nan
    for key in keys(50):
        ours = cut_depth(key, before)
        _, alpha, beta = draws.numbers(key, range(3), 779)
        width = 60
        left, wide = int(alpha * width), int(max((width - alpha * width) * beta * 0.75, 1))
        theirs = before["image"].numpy().copy()
        meters = np.nan_to_num(before["depth"][0, :, left : left + wide].numpy())
        theirs[:, :, left : left + wide] = np.rint(255 * np.clip(meters / 30, 0, 1))
        assert np.array_equal(ours["image"].numpy(), theirs)
    same(before | {"image": sample()["image"]}, before)


def test_cut_depth_wraps_as_sixteen_bits_do_in_eight():
    depth = torch.tensor([[[0.0, 0.5, 1.5, 80.0, torch.nan]]])
    stored = np.array([0, 128, 384, 20480, 0])
    assert CutDepth(wrap=256.0).painted(depth).flatten().tolist() == (stored % 256).tolist()
    assert CutDepth(max_depth=8.0).painted(depth).flatten().tolist() == [0, 16, 48, 255, 0]


def test_a_fourth_of_the_images_is_painted():
    whole = sample()
    painted = [CutDepth()(key, whole)["image"] is not whole["image"] for key in keys(1000)]
    assert sum(painted) / 1000 == pytest.approx(0.25, abs=0.04)


def test_half_of_the_images_are_turned_and_their_corners_are_unknown():
    turned = 0
    for key in keys(200):
        whole = {"image": torch.full((3, 64, 64), 200).byte(), "depth": torch.ones(1, 64, 64)}
        ours = Augmentation(crop="window", rotation=20.0)(key, whole, (64, 64))
        known = ours["depth"].isfinite()
        assert known[0, 20:44, 20:44].all() and (ours["depth"][known] == 1).all()
        if not known.all():
            turned += 1
            assert not known[0, [0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert turned / 200 == pytest.approx(0.5, abs=0.1)


def test_colors_change_the_image_alone():
    for key in keys(10):
        plain, ours = (
            Augmentation(colors=name)(key, sample(), (24, 24)) for name in ("none", "glp")
        )
        same(ours | {"image": plain["image"]}, plain)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"colors": "gpl"}, "did you mean 'glp'"),
        ({"short_side": -1}, "short_side"),
        ({"rotation": 200.0}, "degrees"),
        ({"rotation": 5.0, "needs": ("image", "camera")}, "camera cannot be rotated"),
        ({"rotation": 5.0, "needs": ("image", "normals")}, "normals cannot be rotated"),
        ({"cut_depth": CutDepth(), "needs": ("image", "normals")}, "no depth among"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        Batches(Scenes(2, size=16), size=(8, 8), batch=2, **wrong)


@pytest.mark.parametrize("wrong", [{"probability": 2.0}, {"max_depth": 0.0}, {"widest": 0.0}])
def test_cut_depth_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="cut_depth"):
        CutDepth(**wrong)
