"""Curves are true to their numbers, however many these are."""

from xml.etree import ElementTree

import numpy as np
import pytest

from sgmim.reports.curves import COLUMNS, Axis, Curve, chart, compact, labels, thin, ticks


def walk(count, seed=0):
    return np.random.default_rng(seed).normal(size=count).cumsum()


def drawn(y, x=None, **options):
    """The chart of one curve, as a tree."""
    x = np.arange(1.0, len(y) + 1) if x is None else x
    html = chart("title", "unit", [Curve("", x, np.asarray(y, dtype=float))], **options)
    svg = html[html.index("<svg") : html.index("</svg>") + 6].replace("role=img", "")
    for kind in ("grid", "mark", "failed"):
        svg = svg.replace(f"class={kind} ", f'class="{kind}" ')
    return ElementTree.fromstring(svg)


def paths(tree, kind):
    return [path.get("d") for path in tree.iter("path") if kind in path.get("class").split()]


@pytest.mark.parametrize("count", [1, 2, COLUMNS, COLUMNS + 1, 5000, 200_000])
def test_a_curve_of_any_length_is_few_columns_that_hide_no_extreme(count):
    x, y = np.arange(count) * 7.0 + 3, walk(count)
    points = thin(x, y)
    assert len(points.x) <= COLUMNS and (np.diff(points.x) > 0).all()
    assert points.low.min() == y.min() and points.high.max() == y.max()
    assert (points.low <= points.mean + 1e-9).all() and (points.mean <= points.high + 1e-9).all()
    assert points.x[0] >= x[0] and points.x[-1] <= x[-1]


def test_every_column_is_mean_least_and_greatest_of_its_own_steps():
    x, y = np.sort(np.random.default_rng(1).uniform(0, 1e6, 30_000)), walk(30_000)
    points = thin(x, y, most=50)
    edges = np.linspace(x[0], x[-1], 51)
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, 49)
    for column in range(50):
        mine = y[place == column]
        assert points.mean[column] == pytest.approx(mine.mean(), abs=1e-2)
        assert points.low[column] == pytest.approx(mine.min(), abs=1e-2)
        assert points.high[column] == pytest.approx(mine.max(), abs=1e-2)


def test_values_that_are_not_finite_are_marked_and_not_drawn():
    y = walk(100)
    y[[10, 50]] = np.nan, np.inf
    points = thin(np.arange(100.0), y)
    assert points.failed.tolist() == [10, 50] and np.isfinite(points.mean).all()
    assert len(paths(drawn(y), "failed")) == 2


@pytest.mark.parametrize(
    "y",
    [
        [],
        [1.0],
        [0.0, 0.0],
        [-3.0, -3.0],
        [np.nan, np.nan],
        [1e-12, 2e-12],
        [1e30, -1e30],
        [5, 5e9],
    ],
)
def test_odd_curves_are_charts_all_the_same(y):
    for line in paths(drawn(y), "line"):
        assert "nan" not in line and "inf" not in line


def test_a_curve_begins_and_ends_at_the_sides_of_its_plot():
    (line,) = paths(drawn(walk(50)), "line")
    points = [tuple(map(float, point.split())) for point in line.removeprefix("M").split("L")]
    assert points[0][0] == 0 and points[-1][0] == COLUMNS
    assert all(0 <= x <= COLUMNS and 0 <= y <= 160 for x, y in points)


def test_what_spreads_over_decades_is_drawn_on_a_logarithmic_scale():
    y = np.logspace(2, -2, 60)
    assert "log scale" in chart("", "", [Curve("", np.arange(60.0), y)])
    (line,) = paths(drawn(y), "line")
    heights = [float(point.split()[1]) for point in line.removeprefix("M").split("L")]
    assert np.diff(heights) == pytest.approx(np.diff(heights)[0], abs=0.2)
    assert "log scale" not in chart("", "", [Curve("", np.arange(60.0), y - 1)])


def test_a_resumed_run_is_marked_where_it_went_on():
    tree = drawn(walk(100), marks=[(50.5, "resumed at step 50"), (1000.0, "outside")])
    assert paths(tree, "mark") == [f"M{COLUMNS * (50.5 - 1) / 99:.1f} 0V160"]
    assert [title.text for title in tree.iter("title")] == ["resumed at step 50"]


AXES = [(0, 1), (1, 60), (0.45, 0.83), (-3, 7), (0, 1e6), (1e-6, 3e-6), (999, 1001)]


@pytest.mark.parametrize("low, high", AXES)
def test_ticks_are_few_round_numbers_within_the_axis(low, high):
    places = ticks(Axis(float(low), float(high)))
    assert 2 <= len(places) <= 7
    assert all(low - 1e-9 <= place <= high * (1 + 1e-9) for place in places)
    assert len(set(labels(places))) == len(places)


@pytest.mark.parametrize("low, high", [(1, 20), (0.4, 9), (1e-6, 1e3), (2.1, 38)])
def test_ticks_of_a_logarithmic_axis_are_too(low, high):
    places = ticks(Axis(float(low), float(high), log=True))
    assert 2 <= len(places) <= 8 and all(low * 0.99 <= place <= high * 1.01 for place in places)


def test_numbers_are_told_in_few_letters():
    told = {0.0: "0", 0.0002: "2e-4", 0.35: "0.35", 171.3: "171.3", 1200.0: "1200", 12e3: "12k"}
    told |= {2.5e6: "2.5M", -0.5: "-0.5", 1e-12: "1e-12"}
    assert {value: compact(value) for value in told} == told
    assert labels([0.5, 1.0, 1.5]) == ["0.5", "1.0", "1.5"]
    assert labels([0.0, 0.25], "share") == ["0%", "25%"]
