"""The page of several runs beside each other: a table, curves in one plot, where they differ."""

from collections.abc import Sequence

from sgmim.reports import page
from sgmim.reports.history import History
from sgmim.reports.report import LATELY, captioned, charts, lately


def of_runs(runs: Sequence[History]) -> str:
    """The page of several runs: a table, their curves in the same plots, where they differ."""
    names = _names(runs)
    columns = ["run", "state", "step", "loss", "images/s", "waiting", "gradient norm"]
    rows = [[name, *_line(run)] for name, run in zip(names, runs, strict=True)]
    parts = [
        page.table(columns, rows),
        page.paragraph(f"Numbers are means of the last {LATELY} lines of each log.", faint=True),
        page.heading("Curves"),
        page.legend(names),
        page.group("charts", charts(runs, names)),
        page.heading("Options that differ"),
        *_differences(runs, names),
        page.heading("What they paint"),
    ]
    for name, run in zip(names, runs, strict=True):
        parts += [page.smaller_picture(sheet, captioned(name, sheet)) for sheet in run.sheets[-1:]]
    return page.page(f"{len(runs)} runs", parts, wide=True, script=True)


def _line(run: History) -> list[str]:
    status = run.status
    of = f" of {status.total:,}" if status.total else ""
    waiting = f"{lately(run, 'waiting', 100.0)}%"
    numbers = [lately(run, name) for name in ("loss", "images_per_second")]
    return [status.word, f"{status.step:,}{of}", *numbers, waiting, lately(run, "grad_norm")]


def _names(runs: Sequence[History]) -> list[str]:
    """The folders' own names, where these tell them apart; else whole."""
    short = [run.folder.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.folder) for run in runs]


def _differences(runs: Sequence[History], names: Sequence[str]) -> list[str]:
    found = [run.config for run in runs]
    options = list(dict.fromkeys(option for config in found for option in config))
    rows = [[option, *(str(config.get(option, "-")) for config in found)] for option in options]
    rows = [row for row in rows if len(set(row[1:])) > 1 and row[0] != "run"]
    return [page.table(["option", *names], rows) if rows else page.paragraph("None.")]
