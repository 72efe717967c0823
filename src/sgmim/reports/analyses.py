"""What was found of encoders ('sgmim analyze'), side by side: numbers, and curves drawn again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgmim.confidence import estimate
from sgmim.reports import page
from sgmim.reports.arms import Arm
from sgmim.reports.curves import Curve, chart
from sgmim.reports.lineage import Link
from sgmim.reports.report import spread

ACROSS = ("frequency", "layer")  # columns that curves are drawn over
PANELS = 4  # of one quantity, where there is a curve for each layer
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """What an analysis found of one run."""

    name: str
    title: str
    how: str  # options, images and data: only what was made alike stands together
    numbers: dict[str, float]
    rows: list[Row]
    picture: Path
    command: str


def looks_of(link: Link, wrong: list[str]) -> list[Look]:
    found = []
    for path in sorted(link.run.folder.glob("analysis/*.json")):
        try:
            found.append(_read(path))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            wrong.append(f"{path} is no record of an analysis; left out")
    return found


def _read(path: Path) -> Look:
    """Raises what it may where the file is not what it is called."""
    made = json.loads(path.read_text(encoding="utf-8"))
    how = {name: made.get(name) for name in ("options", "images", "data")}
    return Look(
        name=path.stem,
        title=str(made.get("title") or path.stem),
        how=", ".join(f"{name} {value}" for name, value in how.items() if value not in (None, {})),
        numbers={str(name): float(value) for name, value in made["numbers"].items()},
        rows=[row for row in made.get("rows", ()) if isinstance(row, dict)],
        picture=path.with_suffix(".png"),
        command=str(made.get("command", "")),
    )


def sections(found: Sequence[tuple[int, Arm, str, Look]]) -> list[str]:
    """A section for each analysis: of arms, by their colors, in a stage of their chains."""
    groups: dict[tuple[str, str, str], list[tuple[int, str, Look]]] = {}
    for color, arm, stage, look in found:
        groups.setdefault((look.name, stage, look.how), []).append((color, arm.name, look))
    parts = []
    for (_, stage, how), looks in groups.items():
        parts.append(page.heading(f"{looks[0][2].title}, after {stage}", 3))
        parts += [page.paragraph(f"{how}.", True)] if how else []
        parts += [_numbers(looks)]
        parts += [page.group("charts", drawn)] if (drawn := _charts(looks)) else []
        pictures = _pictures(looks)
        parts += [page.folded("Its own figures", pictures) if drawn else pictures] * bool(pictures)
    return parts


def _numbers(looks: Sequence[tuple[int, str, Look]]) -> str:
    columns = list(dict.fromkeys(name for _, _, look in looks for name in look.numbers))
    rows = []
    for arm in dict.fromkeys(name for _, name, _ in looks):
        row = [arm]
        for column in columns:
            values = [
                look.numbers[column] for _, name, look in looks
                if name == arm and column in look.numbers
            ]  # fmt: skip
            row.append(_told(values))
        rows.append(row)
    heads = ["arm", *columns]
    return page.table(heads, rows, kind="grid", named=f"{looks[0][2].title}: numbers")


def _told(values: Sequence[float]) -> str:
    if not values:
        return "-"
    found = estimate(values)
    return f"{found.mean:.4g}" + (f" ± {found.spread:.2g}" if found.count > 1 else "")


def _charts(looks: Sequence[tuple[int, str, Look]]) -> list[str]:
    """A chart for every quantity; where there is a curve for each layer, one for some layers."""
    columns = list(dict.fromkeys(name for _, _, look in looks for row in look.rows for name in row))
    across = next((name for name in ACROSS if name in columns), None)
    if across is None:
        return []
    measured = [name for name in columns if name != across and _is_measured(name, looks)]
    told = [name for name in columns if name not in (across, *measured)]
    panels = dict.fromkeys(_panel(row, told) for _, _, look in looks for row in look.rows)
    drawn = []
    for quantity in measured:
        for panel in spread(list(panels), PANELS):
            curves = [
                _curve(arm, color, look, (across, quantity), (told, panel))
                for color, arm, look in looks
            ]
            curves = [curve for curve in curves if len(curve.x)]
            unit = ", ".join(panel)
            if curves:
                drawn.append(chart(quantity, unit, curves, scale="linear", across=across))
    return drawn


def _is_measured(name: str, looks: Sequence[tuple[int, str, Look]]) -> bool:
    values = [row[name] for _, _, look in looks for row in look.rows if name in row]
    return name != "head" and all(isinstance(value, int | float) for value in values)


def _panel(row: Row, told: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(name, "")) for name in told)


def _curve(
    arm: str, color: int, look: Look, axes: tuple[str, str], panel: tuple[Sequence[str], tuple]
) -> Curve:
    across, quantity = axes
    rows = [row for row in look.rows if _panel(row, panel[0]) == panel[1] and quantity in row]
    places = [row.get(across) for row in rows]
    if not all(isinstance(place, int | float) for place in places):  # layers have names
        places = list(range(1, len(rows) + 1))
    return Curve(arm, np.array(places, float), np.array([float(r[quantity]) for r in rows]), color)


def _pictures(looks: Sequence[tuple[int, str, Look]]) -> str:
    """The figure of one run of each arm."""
    first: dict[str, Look] = {}
    for _, arm, look in looks:
        if look.picture.is_file():
            first.setdefault(arm, look)
    shown = (page.smaller_picture(look.picture, arm, 900) for arm, look in first.items())
    return page.group("sheets", shown) if first else ""
