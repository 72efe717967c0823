"""Measure several sides in turns, so that whatever else a machine does hits all of them alike."""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

# name, peer, value, unit, ratio, low, high; None where there is nothing to compare with
Row = dict[str, str | float | None]


def command(doc: str, quick: str = "under a minute") -> ArgumentParser:
    """The options that every benchmark has."""
    parser = ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser


def in_turns(
    sides: dict[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 2,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Seconds that every side takes in every round, after a few that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmup + rounds):
        for name, run in sides.items():
            began = clock()
            run()
            if number >= warmup:
                seconds[name].append(clock() - began)
    return seconds


def over(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """One over the other, round by round."""
    return [a / b for a, b in zip(one, other, strict=True)]


def row(
    name: str,
    values: Sequence[float],
    unit: str,
    peer: str | None = None,
    ratios: Sequence[float] = (),
) -> Row:
    """The median of some values; of their ratios to a peer's, median and middle 80 %."""
    low = high = None
    if len(ratios) > 1:
        low, *_, high = quantiles(ratios, n=10, method="inclusive")
    numbers = {"ratio": median(ratios) if ratios else None, "low": low, "high": high}
    rounded = {key: None if n is None else round(n, 3) for key, n in numbers.items()}
    return {"name": name, "peer": peer, "value": round(median(values), 3), "unit": unit, **rounded}


def told(row: Row) -> str:
    """A row for people."""
    text = "{name:44} {value:9.4g} {unit}".format(**row)
    if row["ratio"] is not None:
        text += " = {ratio:.3f} x {peer}".format(**row)
    if row["low"] is not None:
        text += " ({low:.3f} to {high:.3f})".format(**row)
    return text


def write(rows: list[Row], file: Path | None) -> None:
    """The rows as JSON, if anybody wants them."""
    if file:
        file.write_text(json.dumps(rows, indent=2) + "\n")
