"""Means and their intervals on one line each: dots to be seen beside numbers to be read."""

from collections.abc import Sequence
from html import escape
from math import isfinite

from sgmim.confidence import Estimate
from sgmim.reports.curves import Axis, labels, ticks
from sgmim.reports.page import Html, tone

WIDE, HIGH = 300, 22  # of a line's drawing, in its own units
ROOM = 0.75  # of the span of all values, either side, beyond which intervals are cut off


def axis_of(estimates: Sequence[Estimate], also: Sequence[float] = ()) -> Axis:
    """An axis with all the values on it, and as much of their intervals as lets them be seen."""
    values = [value for each in estimates for value in each.values] + list(also)
    low, high = min(values), max(values)
    room = ROOM * (high - low) or abs(high) / 10 or 1.0
    ends = [end for each in estimates for end in (each.low, each.high) if isfinite(end)]
    first = max(low - room, min([*ends, low]))
    last = min(high + room, max([*ends, high]))
    edge = 0.04 * (last - first) or room
    return Axis(first - edge, last + edge)


def strip(found: Estimate, axis: Axis, color: int, zero: float | None = None) -> Html:
    """The seeds as small dots, their mean as a large one, its interval as a line; `zero` is where
    a line goes through. What it shows is told in numbers beside it."""
    middle = HIGH / 2
    parts = [] if zero is None else [f'<path class=zero d="M{_at(zero, axis)} 0V{HIGH}"/>']
    if isfinite(found.low):
        low, high = _at(found.low, axis), _at(found.high, axis)
        parts.append(f'<path class=interval d="M{low} {middle}H{high}"/>')
    if found.count > 1:
        spots = "".join(f"M{_at(value, axis)} {middle}h.01" for value in found.values)
        parts.append(f'<path class=seeds d="{spots}"/>')
    parts.append(f'<path class=mean d="M{_at(found.mean, axis)} {middle}h.01"/>')
    return Html(
        f'<svg class="strip {tone(color)}" viewBox="0 0 {WIDE} {HIGH}" '
        f'preserveAspectRatio="none" aria-hidden=true>{"".join(parts)}</svg>'
    )


def scale(axis: Axis, name: str) -> Html:
    """The numbers below such lines."""
    places = ticks(axis, most=4)
    told = "".join(
        f'<span style="left:{100 * axis.at(place):.2f}%">{text}</span>'
        for place, text in zip(places, labels(places), strict=True)
    )
    return Html(f"<div class=scale aria-hidden=true>{told}<b>{escape(name)}</b></div>")


def _at(value: float, axis: Axis) -> str:
    """Where a value stands; those that are far outside stand just outside."""
    return f"{WIDE * min(1.05, max(-0.05, axis.at(value))):.1f}"
