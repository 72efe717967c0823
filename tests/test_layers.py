"""Blocks that more than one method is built of."""

import pytest
import torch

from conftest import TINY, batch_for, close, close_gradient, tiny
from sgmim.layers import take_attention_apart
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
