"""What MultiMAE shows is dealt out as the authors do, after shares that are Dirichlet's."""

import pytest
import torch

from conftest import golden, tiny
from sgmim.dirichlet import DirichletMask, dealt, log_gammas, shares
from sgmim.errors import ConfigurationError

KEYS = torch.arange(20_000) * 7919 + 5


def mask(alphas=(1.0, 1.0, 1.0), ratio=5 / 6, image_size=(64, 96)):
    return DirichletMask(tiny("vit", image_size), alphas=alphas, ratio=ratio)


def gamma(alpha):
    return log_gammas(KEYS, torch.tensor([alpha], dtype=torch.float64), 0)[:, 0].exp()


def test_the_authors_numbers_give_the_authors_masks():
    meta, io = golden("multimae_masking")
    maps, count = meta["config"]["tasks_and_tokens"], meta["config"]["num_encoded_tokens"]
    noise = torch.stack([io[f"noise.{name}"] for name in maps], dim=1)
    found = dealt(io["task_share"], noise, io["tie_noise"], count)
    assert torch.equal(found.rows, io["ids_keep"])
    for place, name in enumerate(maps):
        assert torch.equal(found.hidden[:, place], io[f"mask.{name}"].bool())
    tokens = torch.arange(48).expand(6, -1)
    hidden = found.hidden.flatten(1)
    assert torch.equal(tokens[~hidden].view(6, count), found.rows.sort(dim=1).values)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 4.0, 40.0])
def test_gamma_draws_have_the_gamma_distribution(alpha):
    """By Kolmogorov and Smirnov; the distribution is torch's incomplete gamma function."""
    found = gamma(alpha).sort().values
    expected = torch.special.gammainc(torch.full_like(found, alpha), found)
    steps = torch.arange(len(found) + 1) / len(found)
    distance = torch.maximum((expected - steps[:-1]).abs(), (expected - steps[1:]).abs()).max()
    assert distance < 1.63 / len(found) ** 0.5  # which one of a hundred exceeds


def test_gamma_draws_of_alpha_1_are_exponential():
    assert gamma(1.0).mean() == pytest.approx(1, abs=0.03)
    assert (gamma(1.0) > 3).double().mean() == pytest.approx(0.0498, abs=0.005)


def test_shares_have_dirichlet_s_means_and_deviations():
    alphas = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    found, total = shares(KEYS, alphas), alphas.sum()
    mean = alphas / total
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(KEYS)).double())
    torch.testing.assert_close(found.mean(dim=0), mean, rtol=0, atol=0.01)
    variance = mean * (1 - mean) / (total + 1)
    torch.testing.assert_close(found.var(dim=0), variance, rtol=0.05, atol=0)


@pytest.mark.parametrize("alpha", [1e-3, 1e3])
def test_shares_are_numbers_however_uneven_or_even(alpha):
    found = shares(KEYS, torch.tensor([alpha] * 3, dtype=torch.float64))
    assert found.isfinite().all()
    most = found.amax(dim=1).mean()
    assert most > 0.99 if alpha < 1 else most < 0.36


@pytest.mark.parametrize("ratio", [0.05, 0.5, 5 / 6])
def test_equally_many_are_visible_in_every_image_and_what_is_visible_is_not_hidden(ratio):
    rule = mask(ratio=ratio)
    found = rule(KEYS[:500])
    assert found.rows.shape == (500, rule.visible)
    visible = torch.zeros(500, 3 * 24, dtype=torch.bool).scatter(1, found.rows, True)
    assert torch.equal(~visible, found.hidden.flatten(1))
    assert (visible.sum(dim=1) == rule.visible).all()


def test_of_588_patches_98_are_visible_as_in_the_paper():
    rule = mask(image_size=(224, 224))
    assert (rule.maps * rule.cells, rule.visible) == (588, 98)


def test_what_is_visible_depends_on_an_image_s_key_alone():
    rule = mask()
    together, alone = rule(KEYS[:8]), rule(KEYS[3:4])
    assert torch.equal(together.hidden[3:4], alone.hidden)
    assert torch.equal(together.rows[3:4], alone.rows)


def test_every_map_shows_all_or_nothing_now_and_then_and_a_third_on_average():
    visible = (~mask()(KEYS).hidden).double().sum(dim=2)  # of 24 patches, 12 of all
    torch.testing.assert_close(
        visible.mean(dim=0), torch.full((3,), 4.0).double(), rtol=0.02, atol=0
    )
    assert (visible == 0).any(dim=0).all() and (visible == 12).any(dim=0).all()


def test_a_map_of_larger_alpha_shows_more():
    visible = (~mask((1.0, 1.0, 4.0))(KEYS[:4000]).hidden).double().sum(dim=2).mean(dim=0)
    assert visible[2] > 3 * visible[0]


def test_a_patch_is_as_likely_visible_as_any_other_of_its_map():
    likely = (~mask()(KEYS).hidden).double().mean(dim=0)  # (maps, patches)
    assert (likely - 1 / 6).abs().max() < 0.02


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (1.0, -2.0), (float("inf"), 1.0), (float("nan"),)])
def test_an_alpha_is_above_0(alphas):
    with pytest.raises(ConfigurationError, match=r"alpha.* above 0"):
        mask(alphas)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, -1.0, 0.999])
def test_a_ratio_leaves_something_to_see_and_something_to_paint(ratio):
    with pytest.raises(ConfigurationError, match="mask ratio"):
        mask(ratio=ratio)
