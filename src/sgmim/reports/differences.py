"""In what arms differ: their options, and what they ran on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sgmim.reports import page
from sgmim.reports.arms import Arm
from sgmim.reports.lineage import Link, is_seed

GROUPS = {  # of options, by their first word; the rest is training
    "Method": ("pretrain", "finetune", "method", "task", "head", "encoder"),
    "Data": ("data", "batches"),
    "Test": ("test", "inference", "partial"),
}
REST = "Training"
UNTOLD = ("run", "init")  # folders
FEW = 3  # values of one option that are listed

Staged = Sequence[tuple[Arm, Sequence[Link]]]


def tables(arms: Staged) -> list[str]:
    """The options in which the arms of a stage differ, by subject; then those that all share."""
    configs = {arm.name: [link.run.config for link in links] for arm, links in arms if links}
    options = dict.fromkeys(o for each in configs.values() for config in each for o in config)
    told = {
        option: [_values(option, each) for each in configs.values()]
        for option in options
        if option not in UNTOLD and not is_seed(option)
    }
    different = {option: values for option, values in told.items() if len(set(values) - {"-"}) > 1}
    different = {o: v for o, v in different.items() if len(set(v)) > 1}
    parts = []
    for group in (*GROUPS, REST):
        rows = [[o, *values] for o, values in different.items() if group_of(o) == group]
        if rows:
            heads = ["option", *configs]
            parts.append(page.heading(group, 4))
            parts.append(page.table(heads, rows, kind="grid", named=f"differences: {group}"))
    alike = [[o, next(v for v in values if v != "-")] for o, values in told.items()
             if o not in different and set(values) != {"-"}]  # fmt: skip
    if not parts:
        parts.append(page.paragraph("No option differs but seeds and folders."))
    table = page.table(["option", "value"], alike, named="options that are alike")
    return [*parts, page.folded(f"{len(alike)} options that are alike wherever they are", table)]


def group_of(option: str) -> str:
    first = option.partition(".")[0]
    return next((group for group, words in GROUPS.items() if first in words), REST)


def _values(option: str, configs: Iterable[Mapping[str, Any]]) -> str:
    """What the runs of an arm say of an option; "-" where they have none."""
    seen = dict.fromkeys(str(config[option]) for config in configs if option in config)
    rest = f" and {len(seen) - FEW} more" if len(seen) > FEW else ""
    return " | ".join(list(seen)[:FEW]) + rest or "-"


def environments(links: Sequence[Link]) -> str:
    """Where runs were not made on the same: which fact differs, and in which runs."""
    found = {link.name: _environment(link) for link in links}
    facts = dict.fromkeys(fact for each in found.values() for fact in each)
    lines = []
    for fact in facts:
        runs: dict[str, list[str]] = {}
        for name, told in found.items():
            if fact in told:
                runs.setdefault(told[fact], []).append(name)
        if len(runs) > 1:
            lines.append(f"{fact}: " + "; ".join(f"{v} ({_listed(r)})" for v, r in runs.items()))
    alike = [f"{fact} {next(t[fact] for t in found.values() if fact in t)}" for fact in facts]
    if not lines:
        return page.paragraph(f"All ran on the same: {', '.join(alike) or 'nothing is known'}.")
    return page.paragraph("Not all ran on the same:") + page.bullets(lines)


def _environment(link: Link) -> dict[str, str]:
    starts = link.run.starts
    told = starts[-1].get("environment") if starts else None
    return {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}


def _listed(runs: Sequence[str], most: int = 4) -> str:
    return ", ".join(runs[:most]) + (f" and {len(runs) - most} more" if len(runs) > most else "")
