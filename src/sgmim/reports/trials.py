"""What runs were scored on. Scores that were made in different ways are never put together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, get_type_hints

from sgmim import options
from sgmim.confidence import Estimate, estimate
from sgmim.reports.lineage import TEST, Link

RESULTS = ("iou", "images_found", "timm")  # of a protocol, and no part of how scores were made

Seeds = tuple[tuple[int, ...] | None, tuple[int, ...]]  # of the run before, and its own


@dataclass(frozen=True)
class Trial:
    """One way to score, in words that are the same for all that were scored that way."""

    title: str
    how: tuple[tuple[str, str], ...]  # options of the test, and the protocol

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True)
class Score:
    """What one run was scored."""

    link: Link
    trial: Trial
    values: dict[str, float]
    protocol: str  # its name
    command: str

    @property
    def seeds(self) -> Seeds:
        before = self.link.before
        return (before.seeds if before else None), self.link.seeds


def trial_of(link: Link, protocol: Mapping[str, Any] | None = None) -> Trial:
    """How a fine-tuned run was scored, or would be."""
    config = link.run.config
    frozen = ", encoder frozen" if config.get("task.frozen") else ", fine-tuned"
    how = {option: value for option, value in config.items() if option.startswith(TEST)}
    return Trial(link.what + frozen, _plain(how) + _plain(protocol or {}))


def scores_of(link: Link, wrong: list[str]) -> list[Score]:
    """Every score that a run has: its own and those of its probes."""
    found = []
    for path in [link.run.folder / "scores.json", *sorted(link.run.folder.glob("probes/*.json"))]:
        if not path.is_file():
            continue
        try:
            found.append(_read(path, link))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            wrong.append(f"{path} is no record of scores; left out")
    return found


def _read(path: Path, link: Link) -> Score:
    """Raises what it may where the file is not what it is called."""
    made = json.loads(path.read_text(encoding="utf-8"))
    values = {str(name): float(value) for name, value in made["scores"].items()}
    values = {name: value for name, value in values.items() if isfinite(value)}
    if not values:
        raise ValueError("there is no score")
    protocol = dict(made["protocol"])
    name = str(protocol.get("name", ""))
    protocol = {key: value for key, value in protocol.items() if key not in RESULTS}
    trial = (
        trial_of(link, protocol)
        if path.parent == link.run.folder
        else Trial(f"probe {path.stem}{_after(link)}", _plain(protocol))
    )
    return Score(link, trial, values, name, str(made.get("command", "")))


def _after(link: Link) -> str:
    return f", after fine-tuning for {link.what}" if link.run.command == "finetune" else ""


def _plain(settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Settings in words; one that is off is left out, as it is where it was not known yet."""
    return tuple((str(name), str(value)) for name, value in settings.items() if value)


def by_seed(scores: Sequence[Score], metric: str) -> dict[Seeds, float]:
    """The scores of an arm, one for each of its seeds; of several with the same, the last."""
    return {score.seeds: score.values[metric] for score in scores if metric in score.values}


def difference(ours: Mapping[Seeds, float], theirs: Mapping[Seeds, float]) -> Estimate | None:
    """How far one arm is above another, over the seeds that they have in common: pre-training's
    and its own; its own alone, where one of them had no pre-training. None where there is none."""
    if not (_pretrained(ours) and _pretrained(theirs)):
        ours, theirs = _own(ours), _own(theirs)
    common = [seeds for seeds in ours if seeds in theirs]
    return estimate([ours[seeds] - theirs[seeds] for seeds in common]) if common else None


def _pretrained(scores: Mapping[Seeds, float]) -> bool:
    return all(before is not None for before, _ in scores)


def _own(scores: Mapping[Seeds, float]) -> dict[Seeds, float]:
    """By their own seeds, those alone that only one of them has."""
    owns = [own for _, own in scores]
    return {(None, own): v for (_, own), v in scores.items() if owns.count(own) == 1}


@cache
def rising() -> dict[str, bool]:
    """Of which scores more is better, as the tasks' meters say; probes are scored by one of
    these."""
    found: dict[str, bool] = {}
    for task in options.contents("tasks").values():
        meter = get_type_hints(task.meter).get("return")
        more = getattr(meter, "rising", ())
        found |= {metric: metric in more for metric in getattr(task, "metrics", ())}
    return found


def is_better(metric: str, difference: Estimate) -> bool | None:
    """Whether more than chance says that one arm is better; None where nothing can be said."""
    more = rising().get(metric)
    if more is None or difference.low <= 0 <= difference.high:
        return None
    return (difference.mean > 0) == more
