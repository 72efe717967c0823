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
from statistics import mean
from typing import Any, Literal

from sgmim.chains import Chain
from sgmim.confidence import Estimate, estimate
from sgmim.errors import ConfigurationError, unknown
from sgmim.options import recipe_path
from sgmim.plain_values import read_recipe

TABLES = Path(__file__).parent / "tables"
Scale = Literal["tiny", "small", "full"]
LABELS = 100  # added to a seed: the made-up rooms that are labeled, as in the demo
PLACE = re.compile(r"\{(\w+)\}")
START = "{pretrain}"  # an option that speaks of it is left out where there is no pre-training


@dataclass(frozen=True)
class Column:
    """A score of a table.

    head: of the column, with its unit.
    of: the step that makes it.
    score: its name there, if it is another than the column's.
    better: "less" or "more".
    digits: after the point.
    """

    head: str
    of: str
    score: str = ""
    better: Literal["less", "more"] = "less"
    digits: int = 3


@dataclass(frozen=True)
class Row:
    """One row of a table.

    label: for people.
    published: by column, as the paper prints it.
    options: added to its pre-training, at every scale.
    arm: the name that its runs go by, where it is not the row's: rows of several tables may be one.
    steps: commands that take the place of the scale's, by scale; none where a step is left out.
    without: at which scales it is not made, and why not.
    note: what a reader has to know of the published number.
    """

    label: str
    published: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    arm: str = ""
    steps: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """That a row is better than another, which the paper says or its numbers do."""

    row: str
    than: str
    by: str
    says: str


@dataclass(frozen=True)
class Setting:
    """How a table is made at some scale.

    steps: the words after 'sgmim' of each step; {pretrain} is the folder of an earlier step,
        {seed} the seed, {labels} the seed of the labeled scenes, any other name in braces one of
        `words` or a folder that the user has (FOLDERS).
    words: that several steps share, by the name that stands for them in braces.
    seeds: how many, unless others are asked for.
    differs: what is not as in the paper, in words.
    cost: of all of it, in words.
    """

    steps: Mapping[str, str]
    words: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 1
    differs: tuple[str, ...] = ()
    cost: str = ""


FOLDERS = {  # what a user has to bring
    "imagenet": "ImageNet-1K, with train/ and val/ in a folder a class",
    "depth": "pseudo depth of ImageNet's train/, by 'sgmim knowledge depth' (docs/knowledge.md)",
    "semantic": "pseudo classes of ImageNet's train/, as MultiMAE's (docs/teachers.md)",
    "habitat": "pairs of views made with Habitat, as CroCo publishes them (docs/datasets.md)",
    "kitti": "KITTI, with raw data and improved depth (sgmim data check kitti)",
    "nyu": "NYU-v2 (sgmim data check nyu)",
    "ade20k": "ADE20K (sgmim data check ade20k)",
    "photos": "photographs in a folder a class, such as Caltech-101",
    "cifar": "CIFAR-10 (sgmim data check cifar10)",
    "frames": "frames of TUM RGB-D: rgb/ and depth/ in millimeters",
}


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    source: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Row]
    claims: tuple[Claim, ...]
    scales: Mapping[str, Setting]

    def setting(self, scale: str) -> Setting:
        """How it is made at some scale; raises ConfigurationError where nobody has said."""
        if scale not in self.scales:
            raise unknown(f"scale of {self.name}", scale, self.scales)
        return self.scales[scale]

    def made(self, scale: str) -> dict[str, Row]:
        """The rows that are made at some scale."""
        return {name: row for name, row in self.rows.items() if scale not in row.without}

    def needs(self, scale: str) -> dict[str, str]:
        """The folders that a scale asks for, and what they hold."""
        setting = self.setting(scale)
        rows = self.made(scale).values()
        words = " ".join(each for row in rows for each in _commands(row, setting, scale).values())
        return {name: FOLDERS[name] for name in FOLDERS if f"{{{name}}}" in words}


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
        arm = row.arm or name
        folder = self.folder / self.scale / f"{arm}_{seed}"
        values = {"seed": seed, "labels": LABELS + seed, **self.folders}
        commands: dict[Path, list[str]] = {}
        asked = _commands(row, self.setting, self.scale)
        if name in self.weights:
            asked.pop("pretrain", None)
            values["pretrain"] = self.weights[name]
        for step, command in asked.items():
            words = [*shlex.split(command), *(row.options if step == "pretrain" else ())]
            has_start = "pretrain" in values
            words = [_filled(word, values) for word in words if has_start or START not in word]
            if words[0] in ("pretrain", "finetune"):
                values[step] = folder / step
                words += [f"--seed={seed}", f"--run={folder / step}"]
                words += [f"--training.steps={self.steps}"] if self.steps else []
            commands[_result(words, values)] = words
        return Chain(f"{row.label}, seed {seed}", folder, commands)

    def chains(self) -> list[Chain]:
        """All of them, each once, seed by seed, so that what is done can be read early."""
        found = {}
        for seed in range(self.count):
            for name in self.rows:
                chain = self.chain(name, seed)
                found[chain.folder] = chain
        return list(found.values())

    def scores(self, name: str) -> dict[str, list[float]]:
        """The scores of a row, by column, one value a seed that is done."""
        found: dict[str, list[float]] = {column: [] for column in self.table.columns}
        for seed in range(self.count):
            chain = self.chain(name, seed)
            if not chain.is_done:
                continue
            steps = list(_commands(self.rows[name], self.setting, self.scale))
            files = list(chain.commands)  # of the last steps, where weights are in place of one
            results = dict(zip(steps[-len(files) :], files, strict=True))
            for column, asked in self.table.columns.items():
                if asked.of in results:
                    found[column].append(_score(results[asked.of], asked.score or column))
        return found

    def verdicts(self) -> Iterator[tuple[Claim, Estimate, str]]:
        """Each claim, the difference over seeds in its favor, and what can be said of it."""
        for claim in self.table.claims:
            if {claim.row, claim.than} <= self.rows.keys():
                one, other = (self.scores(name)[claim.by] for name in (claim.row, claim.than))
                sign = -1 if self.table.columns[claim.by].better == "less" else 1
                pairs = [sign * (a - b) for a, b in zip(one, other, strict=False)]
                if pairs:
                    found = estimate(pairs)
                    yield claim, found, _verdict(found)


def read_table(name: str) -> Table:
    """A table by its name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    paths = tables()
    if name not in paths:
        raise unknown("table", name, paths)
    told = read_recipe(paths[name])
    return Table(
        name=name,
        title=told["title"],
        source=told["source"],
        columns={key: Column(**value) for key, value in told["columns"].items()},
        rows={key: _row(value) for key, value in told["rows"].items()},
        claims=tuple(Claim(**each) for each in told.get("claims", ())),
        scales={key: _setting(value) for key, value in told["scales"].items()},
    )


def tables() -> dict[str, Path]:
    return {path.stem: path for path in sorted(TABLES.glob("*.yaml"))}


def cost(words: Sequence[str]) -> str:
    """What the recipe of a command says that it costs."""
    for word in words:
        if word.startswith("--recipe="):
            text = recipe_path(word.partition("=")[2]).read_text(encoding="utf-8")
            if said := re.search(r"^# cost: (.*)$", text, re.M):
                return said[1]
    return ""


def _row(told: dict[str, Any]) -> Row:
    return Row(**told | {"options": tuple(told.get("options", ()))})


def _setting(told: dict[str, Any]) -> Setting:
    return Setting(**told | {"differs": tuple(told.get("differs", ()))})


def _commands(row: Row, setting: Setting, scale: str) -> dict[str, str]:
    """The steps of a row, with the words of each."""
    own = row.steps.get(scale, {})
    told = {step: own.get(step, command) for step, command in setting.steps.items()}
    return {step: _spelled(each, setting.words) for step, each in told.items() if each}


def _spelled(command: str, words: Mapping[str, str]) -> str:
    """A command with its shared words, which may have others of them inside."""
    while (longer := _filled(command, words)) != command:
        command = longer
    return command


def _filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with its braces filled in, where it is known with what."""
    return PLACE.sub(lambda place: str(values.get(place[1], place[0])), text)


def _result(words: list[str], values: Mapping[str, Any]) -> Path:
    """The file that is there once a command is done."""
    match words[0]:
        case "pretrain":
            return Path(values["pretrain"]) / "objective.safetensors"
        case "finetune":
            run = next(word for word in words if word.startswith("--run="))
            has_test = any(word.startswith(("--test.", "--recipe=")) for word in words)
            assert has_test, "a table's fine-tuning is scored"
            return Path(run.partition("=")[2]) / "scores.json"
        case "probe":
            named = [word for word in words if word.startswith("--name=")]
            name = named[0].partition("=")[2] if named else words[1]
            return Path(words[2]) / "probes" / f"{name}.json"
        case "analyze":
            return Path(words[2]) / "analysis" / f"{words[1]}.json"
    raise ConfigurationError(f"no table is made of 'sgmim {words[0]}'")


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


def best(table: Table, means: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The row with the best mean of each column."""
    chosen = {}
    for column, asked in table.columns.items():
        there = {name: values[column] for name, values in means.items() if column in values}
        if there:
            choose = min if asked.better == "less" else max
            chosen[column] = choose(there, key=there.__getitem__)
    return chosen


def means(reproduction: Reproduction) -> dict[str, dict[str, float]]:
    found = {name: reproduction.scores(name) for name in reproduction.rows}
    return {
        name: {column: mean(values) for column, values in scores.items() if values}
        for name, scores in found.items()
    }
