"""The commands that run what was run once more."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from sgmim.reports import page
from sgmim.reports.arms import Arm
from sgmim.reports.lineage import Link
from sgmim.runs import CONFIG


def commands(arms: Sequence[Arm]) -> list[str]:
    """Of every arm: all the runs of one of its chains, and the command that a score was made by."""
    parts = [
        page.paragraph(
            "Each run by its own configuration, into a new folder. Those of the other seeds have "
            "theirs, in the same way.",
            faint=True,
        )
    ]
    for arm in arms:
        first = arm.tips[0].seeds
        tips = [tip for tip in arm.tips if tip.seeds == first] or arm.tips[:1]
        links = dict.fromkeys(link for tip in tips for link in tip.chain)
        lines = [line for link in links for line in _lines(link)]
        parts += [page.heading(arm.name, 3), page.code("\n".join(lines))]
    return parts


def _lines(link: Link) -> list[str]:
    folder = link.run.folder
    words = ["sgmim", link.run.command, "--recipe", str(folder / CONFIG)]
    if link.before:
        words += ["--init", str(renewed(link.before.run.folder))]
    words += ["--run", str(renewed(folder))]
    told = link.run.record.get("command")
    return [shlex.join(words), *([f"# as it was: {told}"] if told else [])]


def renewed(folder: Path) -> Path:
    """Where a run goes that is made again."""
    return folder.with_name(f"{folder.name}_again")
