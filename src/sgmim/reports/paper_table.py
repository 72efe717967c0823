"""A paper's table beside what was measured here: for terminals, browsers, texts and programs."""

import shlex
from dataclasses import dataclass
from typing import Any

from sgmim import __version__
from sgmim.confidence import estimate, told
from sgmim.reports import page
from sgmim.reproduction import Reproduction

OURS, THEIRS = "here", "published"


@dataclass(frozen=True)
class Line:
    """One row: its label, what was published and what was measured, by column."""

    name: str
    label: str
    published: dict[str, float]
    measured: dict[str, list[float]]  # one value a seed
    note: str


@dataclass(frozen=True)
class PaperTable:
    asked: Reproduction
    lines: list[Line]
    claims: list[tuple[str, str, str]]  # what is said, by how much it is so here, what follows

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Those that have numbers: (column, who says it), side by side for each."""
        found = []
        for column in self.asked.table.columns:
            if any(column in line.published for line in self.lines):
                found.append((column, THEIRS))
            if any(line.measured.get(column) for line in self.lines):
                found.append((column, OURS))
        return found

    def heads(self) -> list[str]:
        told = self.asked.table.columns
        return ["", *(f"{told[column].head}, {who}" for column, who in self.columns)]

    def rows(self) -> list[list[str]]:
        return [
            [line.label, *(self._cell(line, *at) for at in self.columns)] for line in self.lines
        ]

    def _cell(self, line: Line, column: str, who: str) -> str:
        if who == THEIRS:
            return f"{line.published[column]:g}" if column in line.published else "-"
        values = line.measured.get(column)
        return told(values, self.asked.table.columns[column].digits) if values else "-"

    def told(self) -> str:
        """For a terminal."""
        rows = [self.heads(), *self.rows()]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        said = [f"{claim}: {verdict} ({by})" for claim, by, verdict in self.claims]
        return "\n".join([*lines, "", *said])

    def markdown(self) -> str:
        """For a text that is kept."""
        heads, rows = self.heads(), self.rows()
        parts = [
            f"# {self.asked.table.title}: {self.asked.scale}",
            f"Published: {self.asked.table.source}. Measured: {_counted(self.asked.count)}.",
            "\n".join([_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]),
            "\n".join(f"- {line.label}: {line.note}" for line in self.lines if line.note),
            "\n".join(f"- {each}" for each in self.asked.setting.differs),
            "\n".join([_line(CLAIMS), _line(["---"] * 3), *map(_line, self.claims)]),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def record(self) -> dict[str, Any]:
        """For programs."""
        return {
            "table": self.asked.table.name,
            "scale": self.asked.scale,
            "seeds": self.asked.count,
            "source": self.asked.table.source,
            "differs": list(self.asked.setting.differs),
            "rows": {
                line.name: {
                    "label": line.label,
                    "published": line.published,
                    "measured": line.measured,
                    "note": line.note,
                }
                for line in self.lines
            },
            "claims": [
                {"claim": claim, "difference": by, "verdict": verdict}
                for claim, by, verdict in self.claims
            ],
            "sgmim": __version__,
        }

    def page(self) -> str:
        """For a browser."""
        asked = self.asked
        parts = [
            page.paragraph(f"Published: {asked.table.source}. Measured: {_counted(asked.count)}."),
            page.table(self.heads(), self.rows()),
            *(page.paragraph(f"{line.label}: {line.note}.") for line in self.lines if line.note),
            page.heading("What is not as in the paper"),
            *(page.paragraph(each) for each in asked.setting.differs),
            *([page.heading("What holds here")] if self.claims else []),
            *([page.table(CLAIMS, self.claims)] if self.claims else []),
            page.heading("How it was made"),
        ]
        for name, row in asked.rows.items():
            commands = asked.chain(name, 0).commands.values()
            text = "\n".join(f"sgmim {shlex.join(words)}" for words in commands)
            parts.append(page.folded(row.label, page.code(text)))
        return page.page(f"{asked.table.title} ({asked.scale})", parts, wide=True)


CLAIMS = ["claim", "by how much, paired over seeds", "here"]


def gathered(asked: Reproduction, costs: dict[str, dict[str, float]]) -> PaperTable:
    """All that is known of a table so far; `costs` are columns that are measured by themselves."""
    lines = [
        Line(
            name,
            row.label,
            dict(row.published),
            {column: list(seeds.values()) for column, seeds in asked.scores(name).items()}
            | {column: [value] for column, value in costs.get(name, {}).items()},
            row.note,
        )
        for name, row in asked.rows.items()
    ]
    claims = []
    for claim, found, verdict in asked.verdicts():
        digits = asked.table.columns[claim.by].digits
        claims.append((claim.says, interval(found.values, digits), verdict))
    return PaperTable(asked, lines, claims)


def interval(values: tuple[float, ...], digits: int) -> str:
    """Mean and interval of differences that are above 0 where a claim holds."""
    found = estimate(values)
    if found.count < 2:
        return f"{found.mean:+.{digits}f}"
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"


def _counted(seeds: int) -> str:
    return f"mean and deviation over {seeds} seeds" if seeds > 1 else "one seed"
