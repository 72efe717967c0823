"""Blocks that more than one method is built of."""

import pytest
import torch

from conftest import TINY, batch_for, close, close_gradient, golden, tiny
from sgmim.layers import (
    image_of_pixels,
    patches,
    patches_of_pixels,
    spread,
    take,
    take_attention_apart,
    tokens,
)
from sgmim.methods.sgmim import SGMIM


@pytest.mark.parametrize("name", TINY)
def test_attention_taken_apart_finds_the_same(name):
    method = SGMIM(tiny(name))
    batch = batch_for(method)
    whole = method(batch)
    gradients = torch.autograd.grad(sum(whole.values()), list(method.parameters()))
    take_attention_apart(method)
    apart = method(batch)
    for loss in whole:
        close(apart[loss], whole[loss])
    sum(apart.values()).backward()
    for parameter, gradient in zip(method.parameters(), gradients, strict=True):
        close_gradient(parameter.grad, gradient)


def test_patches_of_pixels_are_mae_s():
    _, io = golden("mae")
    assert torch.equal(patches_of_pixels(io["imgs"], 16), io["target_patches"])
    assert torch.equal(image_of_pixels(io["pred"], (4, 4), 16), io["unpatchified_pred"])


def test_an_image_of_any_shape_is_put_together_from_its_patches():
    image = torch.randn(2, 5, 8, 12)
    assert torch.equal(image_of_pixels(patches_of_pixels(image, 4), (2, 3), 4), image)
    pixels = patches_of_pixels(image, 4).unflatten(2, (16, 5)).transpose(2, 3).flatten(2)
    assert torch.equal(pixels, patches(image, 4))


def test_what_is_spread_is_found_where_it_was_put():
    found, cells = torch.randn(2, 3, 7), torch.tensor([[4, 0, 2], [5, 1, 3]])
    everywhere = tokens(spread(found, cells, (2, 3)))
    assert torch.equal(take(everywhere, cells), found)
    assert everywhere.count_nonzero() == found.count_nonzero()
