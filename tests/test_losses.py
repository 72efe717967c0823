"""Errors are measured where they are asked for, and maps standardized as MultiMAE does."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from conftest import golden
from sgmim.errors import ConfigurationError
from sgmim.layers import PixelHead, patches, take, tokens
from sgmim.losses import (
    check_window,
    cosine,
    cross_entropy,
    from_surroundings,
    in_surroundings,
    l1,
    painted_l1,
    painted_mse,
    ssi,
    trimmed_standardized,
)


def test_standardizing_is_the_formula():
    depth = torch.rand(3, 1, 20, 30) ** 2
    for ours, one in zip(trimmed_standardized(depth), depth, strict=True):
        middle = one.flatten().sort().values[60:540]
        theirs = (one - middle.mean()) / torch.sqrt(middle.var() + 1e-6)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_standardizing_is_the_same_with_and_without_a_gradient():
    depth = torch.rand(2, 1, 20, 30).masked_fill(torch.rand(2, 1, 20, 30) < 0.1, torch.nan)
    one, other = trimmed_standardized(depth), trimmed_standardized(depth.clone().requires_grad_())
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_constant_map_becomes_zero_and_an_unknown_one_stays_unknown():
    flat = trimmed_standardized(torch.full((1, 1, 8, 8), 3.0))
    assert flat.abs().max() < 1e-3
    assert trimmed_standardized(torch.full((1, 1, 8, 8), torch.nan)).isnan().all()


def test_holes_do_not_count_in_the_statistics():
    depth = torch.rand(1, 1, 40, 40)
    holes = torch.rand(1, 1, 40, 40) < 0.4
    known = depth[~holes].view(1, 1, 1, -1)
    with_holes = trimmed_standardized(depth.masked_fill(holes, torch.nan))
    torch.testing.assert_close(with_holes[~holes], trimmed_standardized(known).flatten())
    assert with_holes[holes].isnan().all()


def test_every_channel_is_standardized_for_itself():
    one, other = torch.rand(2, 1, 1, 16, 16)
    both = trimmed_standardized(torch.cat([one, 100 * other], dim=1))
    torch.testing.assert_close(both[:, :1], trimmed_standardized(one))


def test_a_pixel_in_its_surroundings_is_the_formula_of_simmim_s_swin_v2():
    image = torch.randn(2, 3, 20, 26)
    ones, size = torch.ones_like(image), 7
    cut = lambda values: F.unfold(values, size, padding=3).unflatten(1, (3, size**2))  # noqa: E731
    inside = cut(ones)
    count = inside.sum(dim=2)
    mean = cut(image).sum(dim=2) / count
    variance = ((cut(image) - mean[:, :, None]) * inside).square().sum(dim=2) / (count - 1)
    theirs = (image.flatten(2) - mean) / (variance + 1e-6).sqrt()
    ours = in_surroundings(image, size)
    assert_close(ours.flatten(2), theirs, rtol=1e-4, atol=1e-4)
    assert_close(from_surroundings(ours, image, size), image)


def test_without_surroundings_a_target_is_the_image_and_only_odd_ones_have_a_middle():
    image = torch.randn(1, 3, 8, 8)
    assert in_surroundings(image, 0) is image and from_surroundings(image, image, 0) is image
    for window in (2, 1, -3, 48):
        with pytest.raises(ConfigurationError, match="target_window"):
            check_window(window)


def test_weights_count_errors_as_often_and_leave_the_divisor_alone():
    head, features, image = PixelHead(6, 4), torch.randn(2, 6, 6), torch.randn(2, 3, 8, 12)
    cells, weights = torch.arange(6).expand(2, -1), torch.rand(2, 1, 8, 12) + 1
    painted = head.paint(features.transpose(1, 2).unflatten(2, (2, 3)))
    hidden = torch.rand(2, 1, 8, 12) < 0.5
    hidden[1] = hidden[0].flip(1)  # as many in both
    ours = painted_l1(head, features, image.where(hidden, torch.nan), cells, weights)
    theirs = (weights * (image - painted).abs() * hidden).sum() / hidden.sum() / 3
    torch.testing.assert_close(ours, theirs)


def test_weights_of_1_change_nothing_to_the_bit():
    head, features, image = PixelHead(6, 4), torch.randn(2, 6, 6), torch.randn(2, 3, 8, 12)
    cells = torch.arange(6).expand(2, -1)
    plain = painted_l1(head, features, image, cells)
    assert torch.equal(plain, painted_l1(head, features, image, cells, torch.ones(2, 1, 8, 12)))


def test_no_gradient_comes_from_where_nothing_is_asked():
    head, features = PixelHead(6, 4), torch.randn(2, 4, 6, requires_grad=True)
    target = torch.randn(2, 3, 8, 8)
    target[0, :, :4, :4] = torch.nan
    cells = torch.arange(4).expand(2, -1)
    painted_l1(head, features, target, cells).backward()
    assert (features.grad[0, 0] == 0).all() and (features.grad[0, 1:] != 0).any()
    assert features.grad.isfinite().all()


def test_a_batch_in_parts_has_the_loss_of_the_whole():
    head, features, target = PixelHead(6, 4), torch.randn(4, 4, 6), torch.randn(4, 3, 8, 8)
    target[0, :, 3:, 2:] = torch.nan
    cells = torch.arange(4).expand(4, -1)
    whole = painted_l1(head, features, target, cells)
    parts = [painted_l1(head, features[i : i + 2], target[i : i + 2], cells[:2]) for i in (0, 2)]
    torch.testing.assert_close(whole, sum(parts) / 2)


def test_a_picture_is_painted_square_by_square():
    head, image = PixelHead(48, 4), torch.randn(2, 3, 8, 12)
    with torch.no_grad():
        head.weight.copy_(torch.eye(48))
        head.bias.zero_()
    features = patches(image, 4).transpose(1, 2).unflatten(2, (2, 3))
    assert torch.equal(tokens(features), patches(image, 4))
    torch.testing.assert_close(head.paint(features), image)


def cells(channels, pixels=16):
    """What is painted in three cells of two images, and what is wanted there, with holes."""
    painted, wanted = torch.randn(2, 2, 3, channels, pixels)
    holes = torch.rand(2, 3, 1, pixels) < 0.3
    return painted, wanted.masked_fill(holes, torch.nan), ~holes


def test_a_map_s_l1_is_that_of_an_image():
    head, features, target = PixelHead(6, 4), torch.randn(2, 4, 6), torch.randn(2, 3, 8, 8)
    target[0, :, 3:, 2:] = torch.nan
    places = torch.arange(4).expand(2, -1)
    painted = head(features).unflatten(2, (3, -1))
    wanted = take(patches(target, 4), places).unflatten(2, (3, -1))
    assert torch.equal(l1(painted, wanted), painted_l1(head, features, target, places))


def test_a_loss_up_to_scale_and_shift_knows_neither():
    painted, wanted, _ = cells(2)
    loss = ssi(painted, wanted)
    assert 0 < loss < l1(painted, wanted)
    by_image = torch.tensor([0.3, 40.0]).view(2, 1, 1, 1)
    assert_close(ssi(painted * by_image - 5 * by_image, wanted), loss)
    assert_close(ssi(painted, 3 * wanted + 2), 3 * loss)
    assert ssi(2 * wanted.nan_to_num() + 1, wanted) < 1e-6


def test_scale_and_shift_are_those_of_least_squares():
    painted, wanted, known = cells(1)
    errors = []
    for ours, theirs, where in zip(painted, wanted, known, strict=True):
        columns = torch.stack([ours[where], torch.ones_like(ours[where])], dim=1).double()
        best = torch.linalg.lstsq(columns, theirs[where][:, None].double()).solution
        errors.append((columns @ best - theirs[where][:, None]).abs().mean())
    assert_close(ssi(painted, wanted), torch.stack(errors).mean().float())


def test_what_is_constant_or_unknown_has_finite_gradients_up_to_scale_and_shift():
    painted = torch.zeros(2, 3, 1, 16, requires_grad=True)
    wanted = torch.randn(2, 3, 1, 16)
    wanted[1] = torch.nan
    ssi(painted, wanted).backward()
    assert painted.grad.isfinite().all() and (painted.grad[1] == 0).all()


def test_directions_are_compared_by_their_angle_alone():
    painted, wanted, known = cells(3)
    assert_close(cosine(painted, wanted), cosine(3 * painted, 0.1 * wanted))
    assert_close(cosine(wanted.nan_to_num(1.0), wanted), torch.tensor(0.0), rtol=0, atol=1e-6)
    assert_close(cosine(-wanted.nan_to_num(1.0), wanted), torch.tensor(2.0))
    by_hand = [
        (1 - torch.cosine_similarity(a, b, dim=1))[where[:, 0]].mean()
        for a, b, where in zip(painted, wanted, known, strict=True)
    ]
    assert_close(cosine(painted, wanted), sum(by_hand) / 2)


def test_cross_entropy_is_torch_s_where_the_class_is_known():
    painted, _, known = cells(5)
    ids = torch.randint(5, (2, 3, 1, 16)).float().where(known, torch.nan)
    by_hand = [
        F.cross_entropy(a.transpose(1, 2)[where[:, 0]], b[where].long())
        for a, b, where in zip(painted, ids, known, strict=True)
    ]
    assert_close(cross_entropy(painted, ids), sum(by_hand) / 2)


@pytest.mark.parametrize("loss", [l1, ssi, cosine])
def test_trust_in_part_of_a_map_is_a_hole_in_the_rest(loss):
    painted, _, known = cells(3)
    full = torch.randn_like(painted)
    trust = known.float()
    assert_close(loss(painted, full, trust), loss(painted, full.where(known, torch.nan)))
    assert_close(loss(painted, full, 0.5 * trust), loss(painted, full, trust))
    assert_close(loss(painted, full, trust.where(known, torch.nan)), loss(painted, full, trust))


@pytest.mark.parametrize("kind, normalized", [("raw_pix", False), ("norm_pix", True)])
def test_the_error_of_removed_patches_is_mae_s(kind, normalized):
    _, io = golden("mae")
    removed = io["mask"].bool()
    painted, wanted = (io[n][removed].unflatten(0, (2, -1)) for n in ("pred", "target_patches"))
    loss = painted_mse(painted, wanted, normalized=normalized)
    assert_close(loss, io[f"{kind}.loss"].view(()), rtol=1e-5, atol=0)


def test_a_patch_of_one_color_has_a_scale_to_be_asked_in():
    flat, painted = torch.full((1, 2, 9), 3.0), torch.zeros(1, 2, 9)
    assert painted_mse(painted, flat, normalized=True) < 1e-6
