import random

import numpy as np
import pytest
import torch

import trees
from sgmim import draws
from sgmim.data.batches import Batches
from sgmim.data.mixing import Mixing
from sgmim.data.policies import Erasing
from sgmim.errors import ConfigurationError
from sgmim.sources import make_source

NEEDS = ("image", "label")


def batch(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator),
        "label": torch.arange(count),
        "key": torch.arange(count) + seed,
    }


def test_mixup_is_the_mean_with_the_batch_in_reverse_order():
    mixed, plain = Mixing(mixup=1.0, cutmix=0.0)(batch()), batch()
    share = mixed["share"][0]
    assert 0 < share < 1 and (mixed["share"] == share).all()
    assert mixed["other"].tolist() == [5, 4, 3, 2, 1, 0]
    image = plain["image"].float()
    expected = share * image + (1 - share) * image.flip(0)
    assert (mixed["image"].float() - expected).abs().max() <= 0.51  # bytes
    assert torch.equal(mixed["label"], plain["label"]) and mixed["image"].dtype == torch.uint8


def test_cutmix_puts_a_rectangle_of_the_other_image_and_counts_its_pixels():
    mixed, plain = Mixing(mixup=0.0, cutmix=1.0)(batch(seed=3)), batch(seed=3)["image"]
    own = (mixed["image"] == plain).all(dim=1)
    other = (mixed["image"] == plain.flip(0)).all(dim=1)
    assert (own | other).all()
    assert mixed["share"][0] == pytest.approx(own[0].float().mean().item(), abs=0.01)


def test_it_is_a_function_of_the_keys_and_leaves_all_generators_alone():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    one = Mixing()(batch())
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    again, other = Mixing()(batch()), Mixing()(batch(seed=1))
    assert torch.equal(one["image"], again["image"]) and torch.equal(one["share"], again["share"])
    assert other["share"][0] != one["share"][0]


def test_batches_are_mixed_now_and_then_and_either_way():
    found = [Mixing(probability=0.5)(batch(seed=seed)) for seed in range(60)]
    unmixed = sum((each["share"] == 1).all().item() for each in found)
    assert 15 < unmixed < 45
    cut = [Mixing(switch=1.0)(batch(seed=seed)) for seed in range(3)]
    plain = [batch(seed=seed)["image"] for seed in range(3)]
    for one, image in zip(cut, plain, strict=True):
        assert ((one["image"] == image) | (one["image"] == image.flip(0))).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_is_fed_the_same_mixed_batches_whoever_loads_them(tmp_path, workers):
    source = make_source(images=trees.in_folders(tmp_path, cat=6, dog=6), labels="folders")
    options = {"size": (16, 16), "batch": 4, "needs": NEEDS, "mixing": Mixing()}
    (first, second), others = (
        [each for each, _ in zip(batches(), range(2), strict=False)]
        for batches in (Batches(source, **options, workers=workers), Batches(source, **options))
    )
    assert first["other"].tolist() == first["label"].flip(0).tolist()
    assert first["share"][0] != second["share"][0]
    for one, other in zip((first, second), others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_run_that_goes_on_is_fed_what_it_would_have_been(tmp_path):
    source = make_source(images=trees.in_folders(tmp_path, cat=6, dog=6), labels="folders")
    batches = Batches(
        source,
        size=(16, 16),
        batch=4,
        needs=NEEDS,
        mixing=Mixing(),
        policy="rand-m9-mstd0.5-inc1",
        erasing=Erasing(),
    )
    stream = batches()
    next(stream)
    torch.testing.assert_close(next(batches(1)), next(stream), rtol=0, atol=0)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ConfigurationError, match=r"mixing pairs the images .* 3 at once"):
        Mixing().check(NEEDS, 3)
    with pytest.raises(ConfigurationError, match="image, depth"):
        Mixing().check(("image", "depth"), 4)
    for wrong in ({"mixup": 0.0, "cutmix": 0.0}, {"mixup": -1.0}, {"switch": 1.5}):
        with pytest.raises(ConfigurationError, match="mixing"):
            Mixing(**wrong)


def test_what_is_borrowed_is_a_function_of_the_key():
    def drawn(key):
        with draws.borrowed(key):
            return random.random(), np.random.rand(), torch.rand(1).item()

    assert drawn(5) == drawn(5) and drawn(5) != drawn(6) and len(set(drawn(draws.key(7)))) == 3
