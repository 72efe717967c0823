"""A second photograph of a scene is cut and colored by itself, and mirrored where the first is."""

import pytest
import torch

from sgmim import draws
from sgmim.data.augmentation import Augmentation
from sgmim.data.batches import Batches, in_order
from sgmim.data.crops import Jitter
from sgmim.data.derived import Exchanged, Sized
from sgmim.data.geometry import normalize

KEYS = [draws.key(0, 0, index) for index in range(24)]


class Pair:
    """Samples of which both photographs say where their pixels were."""

    def __init__(self, count=6, size=(40, 60)):
        self.has = {"image", "second", "depth"}
        self.names, self.size = [f"pair {index}" for index in range(count)], size

    def __len__(self):
        return len(self.names)

    def read(self, index, needs=None):
        y, x = torch.meshgrid(*(torch.arange(n) for n in self.size), indexing="ij")
        image = torch.stack([y, x, 0 * x + index]).byte()
        sample = {"image": image, "second": image[:, ::2, ::2] + 100, "depth": x[None].float()}
        return {name: sample[name] for name in (self.has if needs is None else needs)}


def is_mirrored(image):
    return bool(image[1, 0, 0] > image[1, 0, -1])


@pytest.mark.parametrize("crop", ["resized", "window", "jitter"])
def test_it_is_cut_by_itself_but_mirrored_where_the_first_is(crop):
    pair, seen, apart = Pair().read(0), set(), 0
    for key in KEYS:
        how = Augmentation(crop=crop, jitter=Jitter(within=(40, 60), times=(0.8, 1.2)))
        sample = how(key, pair, (16, 16))
        assert sample["second"].shape == sample["image"].shape == (3, 16, 16)
        assert is_mirrored(sample["second"]) == is_mirrored(sample["image"])
        seen.add(is_mirrored(sample["image"]))
        apart += int(sample["second"][0, 0, 0]) - 100 != int(sample["image"][0, 0, 0]) // 2
    assert seen == {True, False} and apart > len(KEYS) / 2


def test_the_first_and_its_maps_are_what_they_are_without_it():
    pair = Pair().read(0)
    alone = {name: value for name, value in pair.items() if name != "second"}
    for key in KEYS:
        how = Augmentation(colors="croco")
        sample, theirs = how(key, pair, (16, 24)), how(key, alone, (16, 24))
        for name, value in theirs.items():
            torch.testing.assert_close(sample[name], value, rtol=0, atol=0)


def test_its_colors_are_changed_by_themselves():
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    how = Augmentation(colors="croco")
    samples = [how(key, {"image": image, "second": image}, (8, 8)) for key in KEYS]
    ratios = {int(s["image"].sum()) - int(s["second"].sum()) for s in samples}
    assert len(ratios) > len(KEYS) / 2


def test_batches_and_previews_hold_it_normalized():
    needs = ("image", "second", "depth")
    batch = next(Batches(Pair(), size=(16, 24), batch=6, needs=needs)())
    assert batch["second"].shape == (6, 3, 16, 24)
    seen = next(in_order(Pair(), size=(20, 30), needs=needs))
    whole = normalize(Pair().read(0)["second"][None])
    torch.testing.assert_close(seen["second"][:1], whole)


def test_what_is_done_to_a_source_is_done_to_it():
    sample = Sized(Pair(), 20, 16).read(0)
    assert {value.shape[-2:] for value in sample.values()} == {(16, 16)}
    rows = Pair().read(0)["second"][0]  # it is 20 pixels high as it is
    torch.testing.assert_close(sample["second"][0], rows[2:18, :16])


def test_it_can_be_exchanged_for_another_scene_s_as_a_control():
    pair = Pair()
    assert int(Exchanged(pair, "second").read(0)["second"][2, 0, 0]) == 100 + len(pair) // 2
