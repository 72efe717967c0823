"""The papers' tables: what their rows are, what was published, and how to make them at each scale.

NAME.yaml:
  title, source          what it is, and where it was published
  columns                scores, by name (Column)
  rows                   what each changes, and what was published (Row)
  claims                 that one row is better than another (Claim)
  scales                 tiny, small, full: the commands of a row, and what differs (Setting)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sgmim.errors import unknown
from sgmim.plain_values import read_recipe

FOLDER = Path(__file__).parent
Scale = Literal["tiny", "small", "full"]
PLACE = re.compile(r"\{(\w+)\}")


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
    words: of its own, by the name that stands for them in braces, in the scales' steps and words:
        of {{model}} with "model: vit" comes {vit}, a word of the scale.
    options: added to its pre-training, at every scale.
    arm: the name that its runs go by, where it is not the row's: rows of several tables may be one.
    steps: commands that take the place of the scale's, by scale; none where a step is left out.
    without: at which scales it is not made, and why not.
    note: what a reader has to know of the published number.
    """

    label: str
    published: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
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
        the words, or a folder that the user has (FOLDERS).
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
        words = " ".join(each for row in rows for each in steps_of(row, setting, scale).values())
        return {name: FOLDERS[name] for name in FOLDERS if f"{{{name}}}" in words}


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
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def _row(told: dict[str, Any]) -> Row:
    return Row(**told | {"options": tuple(told.get("options", ()))})


def _setting(told: dict[str, Any]) -> Setting:
    return Setting(**told | {"differs": tuple(told.get("differs", ()))})


def steps_of(row: Row, setting: Setting, scale: str) -> dict[str, str]:
    """The steps of a row, with the words of each."""
    own, words = row.steps.get(scale, {}), {**setting.words, **row.words}
    told = {step: own.get(step, command) for step, command in setting.steps.items()}
    return {step: _spelled(each, words) for step, each in told.items() if each}


def _spelled(command: str, words: Mapping[str, str]) -> str:
    """A command with its shared words, which may have others of them inside."""
    while (longer := filled(command, words)) != command:
        command = longer
    return command


def filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with its braces filled in, where it is known with what."""
    return PLACE.sub(lambda place: str(values.get(place[1], place[0])), text)
