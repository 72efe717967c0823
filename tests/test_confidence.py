"""Means of a few seeds and their intervals, against scipy's own words for them."""

import math

import pytest

from sgmim.confidence import estimate, told


def test_an_interval_is_students():
    """scipy.stats.ttest_1samp([.311, .316, .298], 0).confidence_interval(0.95), scipy 1.17.1; by
    hand, with 4.303 of the printed tables: .3083 ± 4.303 * .0092916 / sqrt(3)."""
    found = estimate([0.311, 0.316, 0.298])
    assert (found.low, found.high) == pytest.approx((0.285252, 0.331415), abs=1e-6)
    assert found.mean == pytest.approx(0.308333, abs=1e-6)


def test_of_one_seed_nothing_is_known():
    found = estimate([0.3])
    assert found.spread == 0 and math.isinf(found.half)
    assert told([0.3]) == "0.300" and told([0.3, 0.32]) == "0.310 ± 0.014"


def test_more_seeds_of_the_same_spread_say_more():
    assert estimate([1.0, 2.0] * 5).half < estimate([1.0, 2.0] * 2).half
