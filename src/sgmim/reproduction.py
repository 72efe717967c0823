"""A table of a paper, made again at some scale: the chains of commands that its rows are, what they
came to, and how that stands beside what was published.

rows of a table ──► chains (pre-train, fine-tune, probe ...), one a seed ──► scores ──► claims
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sgmim.chains import Chain
from sgmim.confidence import Estimate, estimate
from sgmim.errors import ConfigurationError, unknown
from sgmim.options import recipe_path
from sgmim.runs import OBJECTIVE
from sgmim.tables import Claim, Row, Scale, Setting, Table, filled, steps_of

LABELS = 100  # added to a seed: the made-up rooms that are labeled, as in the demo
START = "{pretrain}"  # an option that speaks of it is left out where there is no pre-training


@dataclass(frozen=True)
class Reproduction:
    """A table at a scale, in a folder.

    folders: of the user's data, by the names in FOLDERS.
    seeds: how many; the scale's own if none are given.
    weights: checkpoints, by row, that take the place of its pre-training.
    steps: of the optimizer in every run, for a quick look at the flow.
    """

    table: Table
    scale: Scale
    folder: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    seeds: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    steps: int | None = None

    def __post_init__(self):
        if strangers := self.weights.keys() - self.rows.keys():
            raise unknown(f"row of {self.table.name}", min(strangers), self.rows)

    @property
    def setting(self) -> Setting:
        return self.table.setting(self.scale)

    @property
    def rows(self) -> dict[str, Row]:
        return self.table.made(self.scale)

    @property
    def count(self) -> int:
        return self.seeds or self.setting.seeds

    def missing(self) -> dict[str, str]:
        """What a user has still to bring, by its name: not given, or not there."""
        return {
            name: what
            for name, what in self.table.needs(self.scale).items()
            if name not in self.folders or not self.folders[name].exists()
        }

    def chain(self, name: str, seed: int) -> Chain:
        """The commands of a row with one seed."""
        row = self.rows[name]
        folder = self.folder / self.scale / f"{row.arm or name}_{seed}"
        values = {"seed": seed, "labels": LABELS + seed, **self.folders}
        asked = steps_of(row, self.setting, self.scale)
        if name in self.weights:
            asked.pop("pretrain", None)
            values["pretrain"] = self.weights[name]
        commands: dict[Path, list[str]] = {}
        for step, command in asked.items():
            words = [*shlex.split(command), *(row.options if step == "pretrain" else ())]
            has_start = "pretrain" in values
            words = [filled(word, values) for word in words if has_start or START not in word]
            if words[0] in ("pretrain", "finetune"):
                values[step] = folder / step
                words += [f"--seed={seed}", f"--run={folder / step}"]
                words += [f"--training.steps={self.steps}"] if self.steps else []
            commands[_result(words, folder / step)] = words
        return Chain(f"{row.label}, seed {seed}", folder, commands)

    def chains(self) -> list[Chain]:
        """All of them, each once, seed by seed, so that what is done can be read early."""
        found = {}
        for seed in range(self.count):
            for name in self.rows:
                chain = self.chain(name, seed)
                found[chain.folder] = chain
        return list(found.values())

    def scores(self, name: str) -> dict[str, dict[int, float]]:
        """The scores of a row, by column and by seed, of the seeds that are done."""
        found: dict[str, dict[int, float]] = {column: {} for column in self.table.columns}
        steps = list(steps_of(self.rows[name], self.setting, self.scale))
        for seed in range(self.count):
            chain = self.chain(name, seed)
            if not chain.is_done:
                continue
            files = list(chain.commands)  # of the last steps, where weights are in place of one
            results = dict(zip(steps[-len(files) :], files, strict=True))
            for column, asked in self.table.columns.items():
                if asked.of in results:
                    found[column][seed] = _score(results[asked.of], asked.score or column)
        return found

    def verdicts(self) -> Iterator[tuple[Claim, Estimate, str]]:
        """Each claim, the difference in its favor over the seeds that both rows have, and what can
        be said of it."""
        for claim in self.table.claims:
            if {claim.row, claim.than} <= self.rows.keys():
                one, other = (self.scores(name)[claim.by] for name in (claim.row, claim.than))
                sign = -1 if self.table.columns[claim.by].better == "less" else 1
                if both := sorted(one.keys() & other.keys()):
                    found = estimate([sign * (one[seed] - other[seed]) for seed in both])
                    yield claim, found, _verdict(found)


def cost(words: Sequence[str]) -> str:
    """What the recipe of a command says that it costs."""
    for word in words:
        if word.startswith("--recipe="):
            text = recipe_path(word.partition("=")[2]).read_text(encoding="utf-8")
            if said := re.search(r"^# cost: (.*)$", text, re.M):
                return said[1]
    return ""


def _result(words: list[str], run: Path) -> Path:
    """The file that is there once a command is done; `run` is the folder of it, if it trains."""
    match words[0]:
        case "pretrain":
            return run / OBJECTIVE
        case "finetune":
            return run / "scores.json"
        case "probe":
            named = next((word for word in words if word.startswith("--name=")), words[1])
            return _of(words[2]) / "probes" / f"{named.removeprefix('--name=')}.json"
        case "analyze":
            return _of(words[2]) / "analysis" / f"{words[1]}.json"
    raise ConfigurationError(f"no table is made of 'sgmim {words[0]}'")


def _of(run: str) -> Path:
    """The folder of a run that is probed or analyzed."""
    if Path(run).is_file():
        raise ConfigurationError(
            f"{run} is a file, and what is read of it is kept in a run's folder: make it one with "
            f"'sgmim weights import {run} --as FOLDER'"
        )
    return Path(run)


def _score(path: Path, name: str) -> float:
    told = json.loads(path.read_text(encoding="utf-8"))
    return float((told.get("scores") or told.get("numbers"))[name])


def _verdict(found: Estimate) -> str:
    """What may be said of a difference that is above 0 where the claim holds."""
    if found.count < 2:
        return "one seed: nothing can be said"
    if found.low > 0:
        return "holds here"
    if found.high < 0:
        return "does not hold here: the opposite does"
    ahead = sum(value > 0 for value in found.values)
    return f"not shown: ahead in {ahead} of {found.count} seeds, and the interval holds 0"
