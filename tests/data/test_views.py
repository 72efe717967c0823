import pytest
import torch

from sgmim import draws
from sgmim.data.augmentation import Augmentation, CutDepth
from sgmim.data.batches import Batches, in_order
from sgmim.data.geometry import normalize
from sgmim.data.scenes import Scenes
from sgmim.data.views import Views
from sgmim.errors import ConfigurationError

SCENES = Scenes(6, size=40)
VIEWS = Views("moco_second", parts=3, part_size=(8, 12), part_colors="dino_part")
OPTIONS = {"size": (16, 24), "batch": 3, "views": VIEWS, "colors": "moco_first"}
NEEDS = ("image", "view", "parts")


def first(**options):
    return next(Batches(SCENES, **OPTIONS | {"needs": NEEDS} | options)())


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_a_batch_holds_the_views_that_are_needed_and_no_others():
    batch = first()
    assert batch["view"].shape == (3, 3, 16, 24) and batch["parts"].shape == (3, 3, 3, 8, 12)
    assert {batch[name].dtype for name in NEEDS} == {torch.float32}
    assert "parts" not in first(needs=("image", "view")) and "view" not in first(needs=())


def test_views_are_crops_of_the_same_photograph_with_keys_of_their_own():
    batch = first()
    how = Augmentation(colors="moco_second")
    for place, index in enumerate(batch["index"].tolist()):
        key, image = draws.key(0, 0, index), SCENES.read(index, {"image"})
        view = how(draws.key(key, 1), image, (16, 24))["image"]
        torch.testing.assert_close(batch["view"][place], normalize(view[None])[0], rtol=0, atol=0)
    parts = batch["parts"].flatten(0, 1).flatten(1)
    assert len(parts.unique(dim=0)) == 9


def test_the_image_is_the_same_with_views_and_without():
    batch = first(needs=("image", "depth", "view"))
    alone = first(needs=("image", "depth"))
    same({name: batch[name] for name in alone}, alone)


@pytest.mark.parametrize("workers", [0, 2])
def test_views_depend_on_the_key_alone(workers):
    torch.manual_seed(workers)
    batch = first(workers=workers)
    torch.manual_seed(7)
    same(batch, first())


def test_depth_is_painted_into_no_view():
    depth = {"needs": (*NEEDS, "depth")}
    painted = first(cut_depth=CutDepth(1.0, 10.0), **depth)
    plain = first(**depth)
    assert not torch.equal(painted["image"], plain["image"])
    same({name: painted[name] for name in NEEDS[1:]}, {name: plain[name] for name in NEEDS[1:]})


def test_samples_in_order_have_views_too():
    how = Augmentation(views=VIEWS)
    batch = next(in_order(SCENES, size=(16, 24), needs=NEEDS, augmentation=how))
    assert batch["view"].shape == (6, 3, 16, 24) and batch["parts"].shape == (6, 3, 3, 8, 12)
    same(batch, next(in_order(SCENES, size=(16, 24), needs=NEEDS, augmentation=how)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"colors": "moco_fist"}, "did you mean 'moco_first'"),
        ({"part_colors": "no"}, "no set of colors"),
        ({"parts": 0}, "1 or more parts"),
        ({"part_size": 0}, "1 or more pixels"),
        ({"part_scale": (0.5, 0.2)}, "lower and an upper bound"),
    ],
)
def test_views_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        Views(**wrong)
