"""Errors are measured where they are asked for, and maps standardized as MultiMAE does."""

import torch

from sgmim.layers import PixelHead, patches, tokens
from sgmim.losses import painted_l1, trimmed_standardized


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
