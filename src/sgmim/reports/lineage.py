"""Runs, and what each of them began from: a fine-tuned run belongs to its pre-training."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sgmim.assembly import FREE, FREE_PLAN
from sgmim.reports.history import LOG, History
from sgmim.runs import CONFIG

# what a run may differ in and still be the same: where it lies, how it was told of, on what it ran
APART = {"run", "init", *FREE, *(f"training.{option}" for option in FREE_PLAN)}
TEST = ("test.", "inference.", "partial", "task.frozen")  # how it is scored: see trials.py


@dataclass(eq=False)
class Link:
    """A run in its chain: pre-training -> fine-tuning."""

    run: History
    label: str = ""  # what the user calls it
    before: "Link | None" = None  # the run that it began from
    weights: str = ""  # what else it began from: a file, or a run that is gone

    @property
    def what(self) -> str:
        """The method, or the task."""
        return str(self.run.config.get(self.run.command))

    @property
    def name(self) -> str:
        return self.run.folder.resolve().name

    @property
    def chain(self) -> list["Link"]:
        """The first run, what came of it, and so on to this one."""
        return [*(self.before.chain if self.before else []), self]

    @property
    def called(self) -> str:
        """What the user calls it, or what it began from."""
        return self.label or (self.before.called if self.before else "")

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """All the seeds of its own."""
        return tuple(v for option, v in self.run.config.items() if is_seed(option))

    @cached_property
    def options(self) -> dict[str, Any]:
        """What makes it what it is, beside seeds and the way that it is scored."""
        config = self.run.config
        return {option: value for option, value in config.items() if counts(option)}


@dataclass
class Found:
    """What there is to compare, and what could not be read."""

    links: list[Link] = field(default_factory=list)  # those asked for, and what they began from
    wrong: list[str] = field(default_factory=list)  # a line each


def is_seed(option: str) -> bool:
    """Whether an option is a seed of the run; that of the test data says how it is scored."""
    return re.search(r"(^|[._])seed$", option) is not None and not option.startswith(TEST)


def counts(option: str) -> bool:
    parts = option.split(".")
    above = {".".join(parts[: count + 1]) for count in range(len(parts))}
    return not (is_seed(option) or option.startswith(TEST) or above & APART)


def find(words: Iterable[str]) -> Found:
    """The runs in some folders, each as RUN or as NAME=RUN, with what they began from."""
    found, known = Found(), dict[Path, Link]()
    for word in words:
        label, folder = named(word)
        if link := _link(folder, known, found, asked=True):
            link.label = label or link.label
    for link in known.values():
        found.wrong += [f"{link.run.folder}: {told}" for told in _unfinished(link.run)]
    return found


def named(word: str) -> tuple[str, Path]:
    """The name and the folder of NAME=RUN; a folder that is there may have a "=" of its own."""
    name, equals, folder = word.partition("=")
    return (name, Path(folder)) if equals and not Path(word).exists() else ("", Path(word))


def _link(folder: Path, known: dict[Path, Link], found: Found, asked: bool = False) -> Link | None:
    """The run in a folder; None, and a word of why, where there is none."""
    place = folder.resolve()
    if place in known:
        return known[place]
    if not (folder / CONFIG).is_file() and not (folder / LOG).is_file():
        if asked:
            there = "holds no run: config.yaml and log.jsonl are expected"
            found.wrong.append(f"{folder} {there if folder.is_dir() else 'is not there'}; left out")
        return None
    run = History(folder).update()
    if not {"pretrain", "finetune"} & run.config.keys():
        found.wrong.append(f"{folder / CONFIG} is not that of a run of sgmim; left out")
        return None
    known[place] = link = Link(run)
    link.before, link.weights = _origin(run, known, found)
    if link in (link.before.chain if link.before else ()):
        link.before = None  # a configuration that somebody edited: it began from itself
    found.links.append(link)
    return link


def _origin(run: History, known: dict[Path, Link], found: Found) -> tuple[Link | None, str]:
    """The run that a run began from, or else what to call its weights; neither if they were new."""
    init = run.config.get("init")
    if not init:
        return None, "timm's weights" if run.config.get("encoder.pretrained") else ""
    path = Path(str(init))
    path = (
        path.parent if path.suffix == ".safetensors" and path.with_name(CONFIG).exists() else path
    )
    for folder in (path, run.folder.parent / path.name):  # a folder of runs that was moved, too
        if (before := _link(folder, known, found)) is not None:
            return before, ""
    if path.suffix:
        return None, path.name
    found.wrong.append(
        f"{run.folder}: {init}, which it began from, is gone; it is told apart by that name alone, "
        "but for a number at its end"
    )
    return None, re.sub(r"[_-]?\d+$", "", path.name)


def _unfinished(run: History) -> Sequence[str]:
    """How a run stands, where it is not done."""
    status = run.status
    if status.word == "finished":
        return []
    of = f" of {status.total:,}" if status.total else ""
    reason = f" ({status.reason})" if status.reason else ""
    return [f"{status.word}{reason} at step {status.step:,}{of}"]
