"""Curves of many runs: an arm is one color, its seeds are faint lines about their mean."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from sgmim.reports.curves import Curve, Scale, chart
from sgmim.reports.lineage import Link
from sgmim.reports.report import CHARTS

Member = tuple[int, str, Link]  # the color and the name of an arm, and one of its runs


def charts(members: Sequence[Member]) -> list[str]:
    """A chart for every quantity that any of the runs of a stage has; losses of each method by
    themselves: those of another are another quantity."""
    methods = list(dict.fromkeys(link.what for _, _, link in members))
    drawn = []
    for method in methods:
        own = [member for member in members if member[2].what == method]
        losses = dict.fromkeys(
            name for _, _, link in own for name in link.run.quantities if name in link.run.losses
        )
        unit = method if len(methods) > 1 else ""
        drawn += [_chart(loss, (loss, unit, "auto"), own) for loss in losses]
    rest = dict.fromkeys(
        name
        for _, _, link in members
        for name in link.run.quantities
        if name not in link.run.losses and (name != "replaced" or link.run.last.get(name))
    )
    return drawn + [_chart(name, CHARTS.get(name, (name, "", "auto")), members) for name in rest]


def _chart(column: str, told: tuple[str, str, Scale], members: Sequence[Member]) -> str:
    """The seeds of an arm as thin lines, and their mean."""
    title, unit, scale = told
    arms: dict[tuple[int, str], list[Link]] = {}
    for color, name, link in members:
        if column in link.run.columns:
            arms.setdefault((color, name), []).append(link)
    curves: list[Curve] = []
    for (color, name), links in arms.items():
        own = [Curve(_label(name, k), k.run["step"], k.run[column], color) for k in links]
        mean = _mean(name, own)
        curves += [replace(each, is_one_of_many=bool(mean)) for each in own] + mean
    return chart(title, unit, curves, scale=scale)


def _mean(name: str, seeds: Sequence[Curve]) -> list[Curve]:
    """The mean of several curves over the steps that all of them have, if there are any."""
    steps = reduce(np.intersect1d, (curve.x for curve in seeds))
    if len(seeds) < 2 or not len(steps):
        return []
    firsts = [np.unique(curve.x, return_index=True) for curve in seeds]
    values = [
        curve.y[first[np.isin(x, steps)]] for curve, (x, first) in zip(seeds, firsts, strict=True)
    ]
    return [Curve(f"{name}, mean", steps, np.mean(values, axis=0), seeds[0].color)]


def _label(name: str, link: Link) -> str:
    return f"{name}, seed {link.run.config.get('seed')}"
