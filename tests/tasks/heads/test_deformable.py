"""Deformable attention against a loop over every point, and against transformers'."""

import importlib
import math

import pytest
import torch
from torch.testing import assert_close

from sgmim.tasks.heads.deformable import (
    DeformableAttention,
    DeformableEncoder,
    Layout,
    centers,
    look,
    sine,
)

SIZES = [(4, 7), (2, 3), (1, 2)]
CELLS = sum(height * width for height, width in SIZES)


@pytest.fixture
def looks():
    """Values, places and weights: 2 images, 5 queries, 3 heads of 4 channels, 2 points a level."""
    torch.manual_seed(0)
    values = torch.randn(2, CELLS, 3, 4)
    where = torch.rand(2, 5, 3, len(SIZES), 2, 2) * 1.6 - 0.3  # some beyond the maps
    weights = torch.randn(2, 5, 3, len(SIZES) * 2).softmax(-1).unflatten(-1, (len(SIZES), 2))
    return values, where, weights


def value_at(map, x, y):
    """Bilinear reading of a (height, width, c) map at a place in cells, one cell at a time."""
    height, width = map.shape[:2]
    found = torch.zeros(map.shape[2])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                found += (1 - abs(y - row)) * (1 - abs(x - column)) * map[row, column]
    return found


def test_a_look_is_what_a_loop_over_every_point_finds(looks):
    values, where, weights = looks
    expected = torch.zeros(2, 5, 3, 4)
    starts = [0, *torch.tensor([h * w for h, w in SIZES]).cumsum(0).tolist()]
    for image in range(2):
        for query in range(5):
            for head in range(3):
                for level, (height, width) in enumerate(SIZES):
                    cells = values[image, starts[level] : starts[level + 1], head]
                    map = cells.unflatten(0, (height, width))
                    for point in range(2):
                        across, down = where[image, query, head, level, point].tolist()
                        found = value_at(map, across * width - 0.5, down * height - 0.5)
                        weight = weights[image, query, head, level, point]
                        expected[image, query, head] += weight * found
    assert_close(look(values, SIZES, where, weights), expected.flatten(2), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_look_is_that_of_mask2former(looks):
    pytest.importorskip("transformers")
    theirs = importlib.import_module("transformers.models.mask2former.modeling_mask2former")
    values, where, weights = looks
    shapes = torch.tensor(SIZES)
    found = theirs.multi_scale_deformable_attention(values, shapes, where, weights)
    assert_close(look(values, SIZES, where, weights), found, rtol=1e-5, atol=1e-5)


def test_a_look_at_the_centers_of_cells_sees_the_cells(looks):
    values, _, _ = looks
    where = Layout.of([torch.zeros(1, 1, *size) for size in SIZES]).places
    for level, size in enumerate(SIZES):
        count = size[0] * size[1]
        start = sum(h * w for h, w in SIZES[:level])
        here = where[start : start + count, None, None, None].expand(2, count, 3, 3, 1, 2)
        weights = torch.zeros(2, count, 3, 3, 1)
        weights[:, :, :, level] = 1
        seen = look(values, SIZES, here, weights)
        assert_close(seen, values[:, start : start + count].flatten(2), rtol=1e-5, atol=1e-5)


def test_centers_and_sines_go_row_by_row():
    assert_close(centers((1, 2)), torch.tensor([[0.25, 0.5], [0.75, 0.5]]))
    table = sine((3, 5), 8).unflatten(0, (3, 5))
    assert torch.equal(table[0, :, :4], table[0, :1, :4].expand(5, 4))  # the row alone
    assert torch.equal(table[:, 0, 4:], table[:1, 0, 4:].expand(3, 4))  # the column alone
    assert len(table.flatten(0, 1).unique(dim=0)) == 15
    coarse, fine = sine((2, 2), 8), sine((4, 4), 8).unflatten(0, (4, 4))
    assert_close(fine[1::2, 1::2].flatten(0, 1), coarse)


def test_it_starts_by_looking_around_itself_in_as_many_directions_as_it_has_heads():
    attention = DeformableAttention(16, levels=2, heads=4, points=3)
    offsets = attention.offsets(torch.randn(5, 16)).unflatten(-1, (4, 2, 3, 2))
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for step in range(3):
        there = offsets[:, :, :, step]
        assert_close(there, expected[:, None].expand_as(there) * (step + 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_keep_their_sizes_and_every_parameter_learns(dtype):
    torch.manual_seed(0)
    encoder = DeformableEncoder(16, 2, levels=3, heads=4, points=2, dropout=0.1)
    for parameter in encoder.parameters():  # it begins with no regard to what the query is
        torch.nn.init.normal_(parameter, std=0.2)
    maps = [torch.randn(2, 16, *size) for size in SIZES]
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = encoder(maps)
    assert [map.shape for map in found] == [map.shape for map in maps]
    sum((map * torch.randn_like(map)).sum() for map in found).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_cell_far_away_tells_nothing_at_first_and_one_nearby_does():
    torch.manual_seed(0)
    encoder = DeformableEncoder(16, 1, levels=1, heads=4, points=2, dropout=0.0).eval()
    one = torch.randn(1, 16, 9, 9)
    other = one.clone()
    other[..., 8, 8] += 1
    changed = (encoder([one])[0] != encoder([other])[0]).any(dim=1)[0]
    assert changed[8, 8] and changed[8, 7] and changed[6, 8] and not changed[:5, :5].any()
