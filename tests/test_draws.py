"""Random numbers come from keys, and are good enough to be called random."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from sgmim import draws

KEYS = torch.tensor([draws.key(0, 0, index) for index in range(4000)])


def test_a_key_is_its_numbers():
    assert draws.key(1, 2, 3) == draws.key(1, 2, 3)
    assert len({draws.key(a, b, c) for a in range(8) for b in range(8) for c in range(99)}) == 6336
    assert 0 <= draws.key(2**40, 7) < 2**62 and draws.key(2**40) != draws.key(0)


def test_numbers_are_uniform_and_independent():
    numbers = draws.uniform(KEYS, 36)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1) / numbers.numel() * 20
    assert (counts - 1).abs().max() < 0.03
    related = torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max()
    assert related < 4.5 / 4000**0.5
    neighbors = torch.corrcoef(torch.stack([numbers[:-1, 0], numbers[1:, 0]]))[0, 1]
    assert neighbors.abs() < 4 / 4000**0.5


def test_streams_differ_and_rows_do_not_depend_on_each_other():
    numbers = draws.uniform(KEYS, 9)
    assert torch.equal(numbers[7:9], draws.uniform(KEYS[7:9], 9))
    assert torch.equal(numbers[:, :4], draws.uniform(KEYS, 4))
    assert not torch.isclose(numbers, draws.uniform(KEYS, 9, stream=1)).any(dim=1).all()


def test_an_order_is_a_permutation_and_any_is_as_likely():
    order = draws.order(KEYS, 4)
    assert (order.sort(dim=1).values == torch.arange(4)).all()
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    counts = codes.bincount().float()
    counts = counts[counts > 0]
    assert len(counts) == 24 and (counts / (4000 / 24) - 1).abs().max() < 0.35


def test_numbers_one_by_one_are_those_of_the_whole():
    for key in KEYS[:9]:
        whole = draws.uniform(key[None], 9, stream=5)[0]
        assert list(draws.numbers(int(key), [7, 0, 8], stream=5)) == whole[[7, 0, 8]].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 10, 97, 1000, 40001])
def test_every_place_of_a_shuffle_holds_another(count):
    whole = draws.shuffled(7, np.arange(count), count)
    assert (np.sort(whole) == np.arange(count)).all()
    few = np.array([count - 1, 0, count // 2])
    assert (draws.shuffled(7, few, count) == whole[few]).all()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_shuffle_is_as_likely(count):
    orders = list(permutations(range(count)))
    total = 400 + 20 * len(orders)
    found = Counter(tuple(draws.shuffled(key, np.arange(count), count)) for key in range(total))
    expected = total / len(orders)
    error = sum((found[order] - expected) ** 2 / expected for order in orders)  # chi squared
    freedom = len(orders) - 1
    assert abs(error - freedom) < 4 * (2 * freedom) ** 0.5


def test_a_shuffle_keeps_no_trace_of_the_order():
    count, places = 5000, np.arange(5000)
    for key in range(20):
        order = draws.shuffled(key, places, count)
        for one, other in ((order, places), (order[1:], order[:-1]), (order[70:], order[:-70])):
            assert abs(np.corrcoef(one, other)[0, 1]) < 4 / count**0.5
