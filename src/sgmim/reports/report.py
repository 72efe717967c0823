"""The page of a run, made from what lies in its folder.

Curves of all that is in log.jsonl, sheets of pictures, status, configuration, environment, and the
commands that go on from there. A run rewrites its own as it goes on (live.py).
"""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sgmim.reports import page
from sgmim.reports.curves import Curve, Scale, chart, compact
from sgmim.reports.history import History, Status

REPORT = "report.html"
SHEETS = 8  # on a page; of more, the first, the last, and evenly spread ones between
LATELY = 20  # lines of the log that a number "lately" is the mean of

# what a column of the log is called, in which unit, on which scale; of others their own name
CHARTS: dict[str, tuple[str, str, Scale]] = {
    "lr": ("learning rate", "", "linear"),
    "grad_norm": ("gradient norm", "before clipping", "auto"),
    "images_per_second": ("throughput", "images/s", "linear"),
    "waiting": ("waiting for data", "share of the time", "share"),
    "replaced": ("broken files replaced", "so far", "linear"),
}


def of_run(run: History) -> str:
    """The page of one run."""
    status = run.status
    parts = [
        page.paragraph(_subject(run), faint=True),
        _status(status),
        page.tiles(_numbers(run, status)),
        *_scores(run),
        page.heading("Curves"),
        *_marked(status),
        page.group("charts", charts([run])),
        *_pictures(run),
        page.heading("The run"),
        page.facts(_facts(run, status)),
        page.folded("Configuration (config.yaml)", page.code(run.written)),
        page.heading("Commands"),
        *commands(run),
    ]
    return page.page(run.folder.resolve().name, parts, wide=True, script=True)


def commands(run: History) -> list[str]:
    """What can be done with the run, as words for a shell."""
    folder, config = shlex.quote(str(run.folder)), shlex.quote(str(run.folder / "config.yaml"))
    processes = run.starts[-1]["processes"] if run.starts else 1
    start = f"torchrun --nproc-per-node {processes} -m -- " if processes > 1 else ""
    again = f"{start}sgmim {run.command} --recipe {config} --run {folder}"
    if run.command == "finetune":
        use = (
            f"sgmim evaluate {run.config.get('finetune')} {folder} "
            f"--test.images FOLDER --test.maps.depth FOLDER\nsgmim predict {folder} IMAGES OUT"
        )
    else:
        use = f"sgmim finetune depth --init {folder} --data.images FOLDER --data.maps.depth FOLDER"
    export = (
        f"import sgmim\n\nencoder, report = sgmim.load_encoder({str(run.folder)!r})\n"
        "encoder.backbone  # timm's own model, with the weights of this run"
    )
    look = f"sgmim report {folder}\nsgmim doctor {folder}"
    told = {
        "Go on where it stopped:": again,
        "Use what it has learnt:": use,
        "Take the encoder away, in Python (the file is encoder.safetensors):": export,
        "Make this page again, look after the run:": look,
    }
    return [part for what, how in told.items() for part in (page.paragraph(what), page.code(how))]


def _subject(run: History) -> str:
    config = run.config
    size = config.get("encoder.image_size")
    size = " x ".join(map(str, size)) if isinstance(size, list) else f"{size} x {size}"
    parts = [f"{run.command} {config.get(run.command, '')}".strip()]
    if name := config.get("encoder.name"):
        parts.append(f"{name}, {size} pixels")
    if batch := config.get("training.batch"):
        parts.append(f"{batch} images a step")
    return " · ".join(parts)


def _status(status: Status) -> str:
    of = f" of {status.total:,}" if status.total else ""
    reason = f"<span>{escape(status.reason)}</span>" if status.reason else ""
    heard = (
        f' data-heard="{status.heard:.0f}" data-patience="{status.patience:.0f}"'
        if status.word == "running" and status.heard
        else ""
    )
    bar = (
        f'<progress value="{status.step}" max="{status.total}" aria-label="steps"></progress>'
        if status.total
        else ""
    )
    kind = status.word if status.word in ("running", "finished", "stopped") else ""
    return (
        f'<p class=status><span class="state {kind}"{heard}>{escape(status.word)}</span>{reason}'
        f"<span>step {status.step:,}{of}</span></p>{bar}"
    )


def _numbers(run: History, status: Status) -> list[tuple[str, str, str]]:
    """The numbers to be seen first."""
    found = []
    if "loss" in run.losses:
        parts = " + ".join(f"{name} {lately(run, name)}" for name in run.losses[1:])
        found.append(("loss", lately(run, "loss"), parts))
    if len(run):
        found.append(("images a second", lately(run, "images_per_second"), "lately"))
        waiting = lately(run, "waiting", 100.0)
        found.append(("waiting for data", f"{waiting}%", "of the time, lately"))
    if status.left is not None:
        found.append(("time left", duration(status.left), "at the present pace"))
    elif status.began and status.heard:
        found.append(("time taken", duration(status.heard - status.began), "first start to end"))
    broken = run.last.get("replaced", 0.0)
    if broken > 0:
        found.append(("broken files", f"{broken:.0f}", "replaced by others"))
    return found


def _facts(run: History, status: Status) -> list[tuple[str, str]]:
    """When it ran, and on what."""
    newest = run.starts[-1] if run.starts else {}
    found = []
    if status.began:
        found.append(("started", page.moment(status.began)))
    if status.heard:
        found.append(("last written", page.moment(status.heard, ago=True)))
    if status.resumed:
        found.append(("resumed at", escape("step " + ", ".join(f"{s:,}" for s in status.resumed))))
    if np.isfinite(run.memory):
        found.append(("memory", f"{run.memory:.2f} GiB at most"))
    told = newest.get("environment", {})
    return found + [(name, escape(str(value))) for name, value in told.items()]


def charts(runs: Sequence[History], names: Sequence[str] = ("",)) -> list[str]:
    """A chart for every quantity that any of the runs has."""
    resumed = runs[0].status.resumed if len(runs) == 1 else []
    marks = [(float(step), f"resumed at step {step:,}") for step in resumed]
    drawn = []
    for column in dict.fromkeys(name for run in runs for name in run.quantities):
        if column == "replaced" and not any(run.last.get(column) for run in runs):
            continue
        curves = [
            Curve(name, run["step"], run[column], color)
            for color, (name, run) in enumerate(zip(names, runs, strict=True))
            if column in run.columns
        ]
        title, unit, scale = CHARTS.get(column, (column, "", "auto"))
        drawn.append(chart(title, unit, curves, scale=scale, marks=marks))
    return drawn


def _scores(run: History) -> list[str]:
    rows = [[name, f"{score:.4f}"] for name, score in run.scores.items()]
    return [page.heading("Scores"), page.table(["metric", "score"], rows)] if rows else []


def _marked(status: Status) -> list[str]:
    said = "Dashed lines: where the run was stopped and went on. Point at a curve to read it."
    return [page.paragraph(said, faint=True)] if status.resumed else []


def _pictures(run: History) -> list[str]:
    """The maps it is given, and what it makes of them over time."""
    parts: list[str] = []
    preview = run.folder / "pictures" / "preview.png"
    if preview.is_file():
        caption = "The samples of the sheets, whole, with the maps that lie on them"
        parts += [page.section("What it is given", page.smaller_picture(preview, caption))]
    if sheets := spread(run.sheets, SHEETS):
        shown = (page.smaller_picture(sheet, captioned("", sheet)) for sheet in sheets)
        parts += [page.section("What it makes of it", page.group("album", shown))]
    return [page.group("pictures", parts)]


def spread(things: Sequence[Any], most: int) -> list[Any]:
    """The first, the last, and evenly spread ones between."""
    if len(things) <= most:
        return list(things)
    return [things[round(i * (len(things) - 1) / (most - 1))] for i in range(most)]


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def captioned(name: str, sheet: Path) -> str:
    step = int(sheet.stem.removeprefix("step_"))
    return f"{name}{', ' * bool(name)}step {step:,}"


def lately(run: History, name: str, times: float = 1.0) -> str:
    values = run[name][-LATELY:]
    values = values[np.isfinite(values)]
    return compact(times * float(f"{values.mean():.3g}")) if len(values) else "-"
