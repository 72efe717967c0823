import pytest
import torch

from sgmim.data.images import Source
from sgmim.data.noise import Noisy, noisy
from sgmim.data.scenes import Scenes
from sgmim.errors import ConfigurationError
from sgmim.losses import trimmed_standardized
from sgmim.sources import make_source


def rooms(**options):
    return Scenes(12, size=32, kind="rooms", **options)


def error(strength, count=6):
    """Mean of |noisy - exact| / exact after the best scale."""
    source, found = rooms(), []
    for key in range(count):
        exact = source.read(key, {"depth"})["depth"]
        wrong = noisy(exact, strength, key)
        found.append(((wrong * (exact / wrong).median() - exact) / exact).abs().mean())
    return torch.stack(found).mean().item()


def test_it_is_a_source_itself():
    source = Noisy(rooms(), {"depth": 0.3})
    assert isinstance(source, Source) and len(source) == 12 and source.has == rooms().has


def test_the_same_image_has_the_same_noise_in_whatever_part_it_comes():
    whole = make_source(scenes=4, scene_size=32, noise={"depth": 0.3})
    part = make_source(scenes=4, scene_size=32, part=(0.5, 1.0), noise={"depth": 0.3})
    for index in range(2):
        one, two = part.read(index), whole.read(index + 2)
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(part.read(0, {"depth"})["depth"], whole.source.read(2)["depth"])


def test_only_the_maps_that_are_named_are_wrong():
    plain, wrong = rooms().read(3), Noisy(rooms(), {"depth": 0.3}).read(3)
    assert plain.keys() == wrong.keys()
    assert [name for name in plain if not torch.equal(plain[name], wrong[name])] == ["depth"]


def test_no_strength_is_no_noise_and_more_is_worse():
    exact = rooms().read(0)["depth"]
    assert torch.equal(noisy(exact, 0.0, 1), exact)
    assert 0.03 < error(0.05) < error(0.1) < error(0.3) < 0.35


def test_it_is_not_taken_away_by_standardizing_as_a_wrong_scale_is():
    exact = rooms().read(0)["depth"][None]
    target, scaled = trimmed_standardized(exact), trimmed_standardized(3 * exact)
    wrong = trimmed_standardized(noisy(exact[0], 0.3, 1)[None])
    assert (scaled - target).abs().mean() < 1e-4
    assert (wrong - target).abs().mean() > 0.1


@pytest.mark.parametrize("strength", [0.02, 0.3])  # of the less nothing is blurred
@pytest.mark.parametrize("channels", [1, 3])
def test_holes_stay_holes_and_nothing_comes_out_of_them_into_what_is_known(channels, strength):
    values = torch.rand(channels, 40, 56) + 1
    values[:, 8:20, 10:50] = torch.nan
    wrong = noisy(values, strength, 5)
    assert torch.equal(wrong.isnan(), values.isnan())
    away = (wrong / values)[wrong.isfinite()]
    assert 0 < (away - 1).abs().mean() < 2 * strength


@pytest.mark.parametrize("value", [0.0, 2.0, torch.nan])
def test_a_map_that_is_the_same_everywhere_or_unknown_is_no_harm(value):
    wrong = noisy(torch.full((1, 16, 24), value), 0.3, 5)
    assert wrong.isnan().all() if value != value else wrong.isfinite().all()


def test_the_channels_of_a_map_are_wrong_each_by_itself():
    one, two = noisy(torch.ones(2, 16, 16), 0.3, 5)
    assert not torch.allclose(one, two)


@pytest.mark.parametrize(
    "noise, told",
    [
        ({"dept": 0.1}, "did you mean 'depth'"),
        ({"image": 0.1}, "no map whose values"),
        ({"edges": 0.1}, "no map whose values"),
        ({"depth": -0.1}, "0 or more"),
    ],
)
def test_noise_of_what_cannot_be_wrong_by_a_little_is_refused(noise, told):
    with pytest.raises(ConfigurationError, match=told):
        make_source(scenes=4, scene_size=32, noise=noise)


def test_edges_may_be_wrong_where_they_are_of_the_whole_image():
    options = {"scenes": 4, "scene_size": 32, "live": {"edges": "image"}}
    exact, wrong = (make_source(**options, noise=n).read(0) for n in (None, {"edges": 0.3}))
    assert torch.equal(exact["image"], wrong["image"])
    assert not torch.equal(exact["edges"], wrong["edges"])
