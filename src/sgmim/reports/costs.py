"""What runs cost: images, time, memory, and on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import mean

import numpy as np
from safetensors import SafetensorError, safe_open

from sgmim.encoders.files import ENCODER
from sgmim.reports import page
from sgmim.reports.arms import Arm
from sgmim.reports.history import History
from sgmim.reports.lineage import Link
from sgmim.reports.report import duration
from sgmim.runs import OBJECTIVE

HEADS = (
    "arm", "runs", "steps", "images seen", "start to end", "stepping", "images/s", "encoder",
    "with its heads", "device",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Of one run; NaN or nothing where it is not known."""

    steps: int
    images: float
    elapsed: float  # seconds from its first start to its end
    stepping: float  # seconds of these between lines of the log, as far as these tell a pace
    encoder: int  # parameters that are handed over
    objective: int  # parameters that are trained, or kept, in all
    device: str
    memory: float  # GiB that its main process held at most


def cost_of(run: History) -> Cost:
    status, starts = run.status, run.starts
    batch = float(run.config.get("training.batch") or np.nan)
    told = starts[-1].get("environment", {}) if starts else {}
    known = status.began is not None and status.heard is not None
    return Cost(
        steps=status.step,
        images=status.step * batch,
        elapsed=status.heard - status.began if known else np.nan,  # type: ignore[operator]
        stepping=_stepping(run, batch),
        encoder=parameters(run.folder / ENCODER),
        objective=parameters(run.folder / OBJECTIVE),
        device=str(told.get("device", "")),
        memory=run.memory,
    )


def _stepping(run: History, batch: float) -> float:
    """Each line tells how fast the steps since the one before were."""
    pace = run["images_per_second"]
    steps = np.diff(run["step"], prepend=0.0)
    good = (pace > 0) & (steps > 0)
    return float((steps[good] * batch / pace[good]).sum()) if good.any() else np.nan


def parameters(file: Path) -> int:
    """How many numbers a file of weights holds, by its header alone; 0 where there is none."""
    try:
        with safe_open(file, "np") as opened:
            return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0


def table(stage: str, arms: Sequence[tuple[Arm, Sequence[Link]]]) -> str:
    """What a stage cost each of the arms: the mean of its runs."""
    found = [(arm.name, [cost_of(link.run) for link in links]) for arm, links in arms]
    heads = list(HEADS)
    if with_memory := any(np.isfinite(cost.memory) for _, costs in found for cost in costs):
        heads.append("memory at most")
    rows = [[name, *_row(costs, with_memory)] for name, costs in found]
    return page.table(heads, rows, kind="grid", named=f"costs: {stage}")


def _row(costs: Sequence[Cost], with_memory: bool) -> list[str]:
    elapsed = _mean([cost.elapsed for cost in costs])
    stepping = _mean([cost.stepping for cost in costs])
    images = _mean([cost.images for cost in costs])
    row = [
        str(len(costs)),
        " or ".join(dict.fromkeys(f"{cost.steps:,}" for cost in costs)),
        f"{images:,.0f}" if np.isfinite(images) else "-",
        _time(elapsed),
        _time(stepping),
        f"{images / stepping:,.0f}" if stepping > 0 else "-",
        _millions(costs[0].encoder),
        _millions(costs[0].objective),
        ", ".join(dict.fromkeys(cost.device for cost in costs if cost.device)) or "-",
    ]
    memory = max((cost.memory for cost in costs if np.isfinite(cost.memory)), default=np.nan)
    return row + ([f"{memory:.1f} GiB" if np.isfinite(memory) else "-"] if with_memory else [])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return mean(known) if known else np.nan


def _time(seconds: float) -> str:
    """A bit finer than people say it, so that costs can be laid side by side."""
    if not np.isfinite(seconds):
        return "-"
    return f"{seconds / 60:.1f} min" if 100 <= seconds < 6000 else duration(seconds)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else "-"
