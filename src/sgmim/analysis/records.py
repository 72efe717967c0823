"""What an analysis leaves behind: numbers as JSON, its table as CSV, its figure as PNG and PDF."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from sgmim import __version__
from sgmim.analysis import figure
from sgmim.analysis.base import Findings, Row
from sgmim.files import write_text

SCHEMA = 1  # of a record
FOLDER = "analysis"  # in the folder of a run, and where nothing else is said

Record = dict[str, Any]


def record(
    analysis: str,
    title: str,
    *,
    subject: str,
    findings: Findings,
    images: int,
    options: Mapping[str, Any],
    data: Mapping[str, Any],
    command: str,
    **more: Any,
) -> Record:
    """All that was found of one subject, and how: enough to draw its curves again."""
    return {
        "schema": SCHEMA,
        "analysis": analysis,
        "title": title,
        "subject": subject,
        "options": dict(options),
        "images": images,
        "data": dict(data),
        **more,
        "command": command,
        "sgmim": __version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numbers": findings.numbers,
        "rows": findings.rows,
    }


def joint(records: Sequence[Record], between: Sequence[Row]) -> Record:
    """Of several subjects: what they have in common once, and each one's own by its name."""
    own = ("subject", "images", "run", "encoder", "numbers", "rows")
    shared = {name: value for name, value in records[0].items() if name not in own}
    subjects = {
        made["subject"]: {name: made[name] for name in own[1:] if name in made} for made in records
    }
    return shared | {"subjects": subjects, "between": list(between)}


def write(folder: Path, name: str, made: Record, rows: Sequence[Row], drawn: Figure) -> None:
    """Write a record, its table and its figure under one name; raises FileError."""
    write_text(folder / f"{name}.json", json.dumps(made, indent=2, default=str) + "\n")
    write_text(folder / f"{name}.csv", as_csv(rows))
    figure.save(drawn, folder / name)


def as_csv(rows: Iterable[Row]) -> str:
    """A table, with a column for all that any of its rows has."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def told(findings: Mapping[str, Findings]) -> str:
    """The numbers of all subjects, for people: a line for each number, a column for each."""
    names = list(dict.fromkeys(name for found in findings.values() for name in found.numbers))
    widths = [max(len(subject), 9) for subject in findings]
    first = max((len(name) for name in names), default=0)
    lines = [_line("", first, findings, widths)] if len(findings) > 1 else []
    for name in names:
        values = (found.numbers.get(name) for found in findings.values())
        cells = ("-" if value is None else f"{value:.4f}" for value in values)
        lines.append(_line(name, first, cells, widths))
    return "\n".join(lines)


def _line(name: str, first: int, cells: Iterable[str], widths: Sequence[int]) -> str:
    placed = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{name:<{first}}  {'  '.join(placed)}".rstrip()
