"""Curves as inline SVG: they take the page's colors, and its width without blurring their labels.

The plot itself is stretched to the width there is; labels are text beside it. However long a run
is, a curve is drawn by at most `COLUMNS` means, within the band from least to greatest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Literal

import numpy as np
from jaxtyping import Float

from sgmim.reports.page import tone

COLUMNS = 320  # about one for every pixel or two
MANY = 8  # curves in one plot, of which more are lines of fewer columns without bands
HEIGHT = 160  # of the plot, in its own units
LOG_FROM = 12.0  # times the least value that the greatest is, from which a scale is logarithmic

Scale = Literal["linear", "log", "auto", "share"]  # a share is from 0 to 1, told in percent


@dataclass(frozen=True)
class Curve:
    """Values over steps; NaN where there is none."""

    label: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    color: int = 0
    is_one_of_many: bool = False  # of a color: a thin line


@dataclass(frozen=True)
class Thinned:
    """A curve in few columns: where, the means, the least, the greatest; and where it failed."""

    x: Float[np.ndarray, " m"]
    mean: Float[np.ndarray, " m"]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]
    failed: Float[np.ndarray, " k"]  # x of columns in which a value is not finite


@dataclass(frozen=True)
class Axis:
    """From values to shares of a side of the plot."""

    low: float
    high: float
    log: bool = False

    def __call__(self, values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        if self.log:
            values = np.log(np.maximum(values, self.low) / self.low)
            return values / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def at(self, value: float) -> float:
        return float(self(np.array([float(value)]))[0])


def chart(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    *,
    scale: Scale = "auto",
    marks: Sequence[tuple[float, str]] = (),
    across: str = "step",
) -> str:
    """A figure with all the curves; `marks` are steps at which something is to be told.

    Args:
        title: what is shown.
        unit: of the values.
        curves: with one color each.
        scale: "auto" is logarithmic where values are positive and spread widely.
        marks: as (step, what happened).
        across: what the values are over.
    """
    most = COLUMNS if len(curves) <= MANY else COLUMNS // 2
    thinned = [thin(curve.x, curve.y, most) for curve in curves]
    right, down = _axes(thinned, scale)
    drawn = "".join(
        _drawn(points, right, down, curve) for curve, points in zip(curves, thinned, strict=True)
    )
    lines = "".join(_mark(right.at(step), told) for step, told in marks)
    below = [(right.at(x), compact(x)) for x in ticks(right)]
    places = ticks(down)
    beside = [(1 - down.at(y), text) for y, text in zip(places, labels(places, scale), strict=True)]
    grid = "".join(f'<path class=grid d="M0 {HEIGHT * y:.1f}H{COLUMNS}"/>' for y, _ in beside)
    shape = "log" if down.log else "linear"
    return (
        f"<figure class=chart data-curves='{_data(curves, thinned, (right, down), scale, across)}'>"
        f"<figcaption><b>{escape(title)}</b> <span class=unit>{escape(unit)}"
        f"{', log scale' * down.log}</span><output></output></figcaption>"
        f"<div class=y>{_placed(beside, 'top')}</div>"
        f'<div class="plot {shape}"><svg viewBox="0 0 {COLUMNS} {HEIGHT}" role=img '
        f'aria-label="{escape(title)}" preserveAspectRatio="none">{grid}{drawn}{lines}</svg></div>'
        f"<div class=x>{_placed(below, 'left')}<span class=name>{escape(across)}</span></div>"
        "</figure>"
    )


def thin(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], most: int = COLUMNS) -> Thinned:
    """A curve of any length in at most `most` columns of equal width."""
    bad, good = ~np.isfinite(y), np.isfinite(y)
    failed = np.unique(np.round(x[bad & np.isfinite(x)], 0))
    if len(failed) > most:
        failed = failed[:: ceil(len(failed) / most)]
    order = np.argsort(x[good], kind="stable")  # a log that somebody has edited need not be
    x, y = x[good][order], y[good][order]
    if len(x) <= most or x[-1] == x[0]:
        return Thinned(x[:most], y[:most], y[:most], y[:most], failed)
    place = ((x - x[0]) / (x[-1] - x[0]) * (most - 1e-6)).astype(int)
    firsts = np.flatnonzero(np.diff(place, prepend=-1))
    counts = np.diff(firsts, append=len(x))
    return Thinned(
        np.add.reduceat(x, firsts) / counts,
        np.add.reduceat(y, firsts) / counts,
        np.minimum.reduceat(y, firsts),
        np.maximum.reduceat(y, firsts),
        failed,
    )


def ticks(axis: Axis, most: int = 5) -> list[float]:
    """Round numbers on an axis."""
    if axis.log:
        first, last = ceil(log10(axis.low) - 1e-9), floor(log10(axis.high) + 1e-9)
        decades = [10.0**power for power in range(first, last + 1, ceil((last - first + 1) / most))]
        if last - first >= 2:
            return decades
        steps = (1, 2, 5) if last > first else (1, 2, 3, 5, 7)
        fine = [step * 10.0**power for power in range(first - 1, last + 1) for step in steps]
        return [tick for tick in fine if axis.low <= tick <= axis.high]
    rough = (axis.high - axis.low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= rough * 0.999)
    first = ceil(axis.low / step - 1e-9)
    return [step * number for number in range(first, floor(axis.high / step + 1e-9) + 1)]


def compact(value: float) -> str:
    """A number in few letters: 12k, 0.35, 2e-5."""
    size = abs(value)
    if size == 0 or not isfinite(value):
        return f"{value:.0f}"
    if size < 0.01:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= max(unit, 9999.5):
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


def labels(places: Sequence[float], scale: Scale = "linear") -> list[str]:
    """Numbers on an axis, as exact as their distance asks for, and all of them alike."""
    if scale == "share":
        return [f"{100 * place:.3g}%" for place in places]
    texts = [compact(place) for place in places]
    if any(letter in text for text in texts for letter in "ekMG"):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{place:.{decimals}f}" for place in places]


def _axes(thinned: Sequence[Thinned], scale: Scale) -> tuple[Axis, Axis]:
    x = np.concatenate([t.x for t in thinned] + [t.failed for t in thinned])
    low, high = (np.concatenate([getattr(t, side) for t in thinned]) for side in ("low", "high"))
    first, last = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    across = Axis(first, max(last, first + 1))
    if not len(low):
        return across, Axis(0.0, 1.0)
    least, greatest = float(low.min()), float(high.max())
    if scale == "share":
        return across, Axis(0.0, max(0.05, 1.05 * greatest))
    if scale == "log" or (scale == "auto" and 0 < LOG_FROM * least < greatest):
        return across, Axis(least / 1.1, greatest * 1.1, log=True)
    if scale == "linear" or (least > 0 and least < 0.25 * greatest):
        least = min(0.0, least)
    room = 0.06 * (greatest - least) or abs(greatest) / 10 or 1.0
    return across, Axis(least - room * (least != 0), greatest + room)


def _drawn(points: Thinned, across: Axis, down: Axis, curve: Curve) -> str:
    """The band, the line, and a red mark at the foot wherever a value was not finite."""
    x, middle, low, high = (
        np.round(side, 1)
        for side in (
            COLUMNS * across(points.x),
            *(HEIGHT * (1 - down(y)) for y in (points.mean, points.low, points.high)),
        )
    )
    parts, color = [], tone(curve.color)
    if len(x) and (points.low != points.high).any() and not curve.is_one_of_many:
        edge = np.concatenate([np.stack([x, high], 1), np.stack([x, low], 1)[::-1]])
        parts.append(f'<path class="band {color}" d="M{_path(edge)}Z"/>')
    if len(x):
        line = np.stack([x, middle], 1)
        dot = "h.01" * (len(line) == 1)  # a round cap makes it a point
        kind = " thin" * curve.is_one_of_many
        parts.append(f'<path class="line {color}{kind}" d="M{_path(line)}{dot}"/>')
    for step in points.failed:
        parts.append(f'<path class=failed d="M{COLUMNS * across.at(step):.1f} {HEIGHT}v-9"/>')
    return f'<g data-place="{curve.color}">{"".join(parts)}</g>'


def _path(points: Float[np.ndarray, "m 2"]) -> str:
    return "L".join(f"{x:g} {y:g}" for x, y in points.tolist())


def _mark(share: float, told: str) -> str:
    line = f'<path class=mark d="M{COLUMNS * share:.1f} 0V{HEIGHT}"/>' if 0 <= share <= 1 else ""
    return f"<g>{line}<title>{escape(told)}</title></g>" if line else ""


def _placed(places: Sequence[tuple[float, str]], side: str) -> str:
    return "".join(f'<span style="{side}:{100 * at:.2f}%">{text}</span>' for at, text in places)


def _data(
    curves: Sequence[Curve],
    thinned: Sequence[Thinned],
    axes: tuple[Axis, Axis],
    scale: Scale,
    across: str,
) -> str:
    """What the page's script reads out; a curve is [label, color, x, values]."""
    times, (right, down) = (100 if scale == "share" else 1), axes
    rows = [
        [
            curve.label if len(curves) > 1 else "",
            curve.color,
            [_number(x) for x in points.x.tolist()],
            [float(f"{times * y:.4g}") for y in points.mean.tolist()],
        ]
        for curve, points in zip(curves, thinned, strict=True)
    ]
    unit = "%" if scale == "share" else ""
    sides = [right.low, right.high, times * down.low, times * down.high, int(down.log)]
    return escape(json.dumps([unit, across, sides, rows], separators=(",", ":")))


def _number(x: float) -> float | int:
    """A step is a whole number, a frequency is none."""
    return round(x) if abs(x) >= 10 or x == round(x) else float(f"{x:.4g}")
