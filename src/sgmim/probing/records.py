"""What is kept and told of a probe: scores with their spread, and how they were made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import timm

from sgmim import scores
from sgmim.analysis.base import Subject
from sgmim.features import Reading
from sgmim.probing.accuracy import SCORES
from sgmim.probing.banks import Extraction
from sgmim.probing.weights import checkpoint
from sgmim.protocols import by
from sgmim.scores import Record

CHOSEN = "a part held out of the training data; the test data are scored once, at the end"
TITLES = {"top1": "top1", "top5": "top5", "mean_per_class": "per class"}


@dataclass(frozen=True)
class Probe:
    """What was done, whatever the encoder.

    kind: "linear" or "knn".
    preset: that says what is read, and how heads are trained.
    extraction: of the features.
    options: of the heads, or of the neighbors.
    data: what was counted of the images, and the options they were found by.
    command: the words after "sgmim".
    """

    kind: str
    preset: str
    extraction: Extraction
    options: dict[str, Any]
    data: dict[str, Any]
    command: Sequence[str]


def record(probe: Probe, subject: Subject, reading: Reading, seeds: list[dict[str, Any]]) -> Record:
    """The record of one encoder, read in one place.

    Args:
        probe: what was done.
        subject: the encoder.
        reading: where its features are from.
        seeds: of each its "seed", its "scores", and what else there is to tell.
    """
    protocol = {
        "preset": probe.preset,
        **asdict(reading),
        "size": list(subject.encoder.image_size),
        "share": probe.extraction.share,
        "normalization": subject.normalization,
        "precision": probe.extraction.precision,
        "augmentation": "none: features are computed once",
        **probe.options,
        **({"rate_chosen_on": CHOSEN} if probe.kind == "linear" else {}),
        **probe.data,
        "timm": timm.__version__,
    }
    made = scores.record(
        mean(seeds),
        protocol,
        name=f"{probe.kind} probe",
        run=subject.run or Path(subject.name),
        command=["probe", *probe.command],
        checkpoint=checkpoint(subject),
    )
    own = {"probe": probe.kind, "subject": subject.name}
    return made | own | {"spread": spread(seeds), "seeds": seeds}


def mean(seeds: list[dict[str, Any]]) -> dict[str, float]:
    return {name: fmean(each["scores"][name] for each in seeds) for name in seeds[0]["scores"]}


def spread(seeds: list[dict[str, Any]]) -> dict[str, float | None]:
    """The standard deviation over seeds; nothing of a single one."""
    return {
        name: stdev(each["scores"][name] for each in seeds) if len(seeds) > 1 else None
        for name in seeds[0]["scores"]
    }


def told(made: Record) -> str:
    """A record for people."""
    how = made["protocol"]
    of = f"{how['layer']} of {how['of']}"
    share = "whole images" if how["share"] is None else f"center crops of {how['share']:g}"
    lines = {TITLES[name]: _score(made, name) for name in made["scores"]}
    lines |= {f"k = {k}": f"{top1:.4f} top1" for k, top1 in _by_k(made).items()}
    lines |= {
        "protocol": f"{how['name']}, preset {how['preset']}",
        "features": f"layer {of}, {how['pool']}, final norm {'yes' if how['norm'] else 'no'}, "
        f"{share} at {by(how['size'])}, {how['precision']}",
        "images": _images(made),
        **_chosen(made),
        "weights": f"{made['checkpoint']['file'] or 'new'}, "
        f"sha256 {made['checkpoint']['sha256'][:16]}...",
    }
    return "\n".join(f"{title:<12} {line}" for title, line in lines.items())


def table(records: Mapping[str, Record]) -> str:
    """Several records by name, beside each other."""
    width = max(len("encoder"), *map(len, records)) + 2
    head = f"{'encoder':<{width}}{'layer':<9}" + "".join(f"{TITLES[n]:<18}" for n in SCORES)
    has_rates = any(made["probe"] == "linear" for made in records.values())
    rows = [head + "rate" * has_rates]
    for name, made in records.items():
        layer = f"{made['protocol']['layer']} of {made['protocol']['of']}"
        told = "".join(f"{_score(made, score):<18}" for score in SCORES)
        rates = ", ".join(dict.fromkeys(f"{s['rate']:g}" for s in made["seeds"] if has_rates))
        rows.append(f"{name:<{width}}{layer:<9}{told}{rates}".rstrip())
    return "\n".join(rows)


def _score(made: Record, name: str) -> str:
    if name not in made["scores"]:
        return "-"
    spread = made["spread"][name]
    return f"{made['scores'][name]:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def _by_k(made: Record) -> dict[str, float]:
    return made["seeds"][0].get("by_k", {})


def _images(made: Record) -> str:
    how = made["protocol"]
    test = f"{how['test']} tested on" if how["test"] else "each asked of all others"
    held = made["seeds"][0].get("held_out")
    part = f", of which {held} chose the rate" if held else ""
    return f"{how['train']} known{part}; {test}; {how['classes']} classes"


def _chosen(made: Record) -> dict[str, str]:
    """The rate of every seed, and a word where the grid may end too early."""
    if made["probe"] != "linear":
        return {}
    grid = made["protocol"]["rates"]
    rates = [each["rate"] for each in made["seeds"]]
    told = f"{', '.join(f'{rate:g}' for rate in rates)} of {', '.join(f'{r:g}' for r in grid)}"
    ends = {min(grid), max(grid)} & set(rates) if len(grid) > 1 else set()
    more = "; the grid ends there: give --linear.rates that go on" if ends else ""
    seeds = f"{len(rates)} seeds, mean ± deviation" if len(rates) > 1 else "1 seed"
    return {"rate": f"{told}{more}", "seeds": seeds}
