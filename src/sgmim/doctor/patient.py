"""The run that 'sgmim doctor' looks at: one that has begun, or one that options speak of."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from jsonargparse import Namespace

from sgmim.data.batches import Batches
from sgmim.data.images import Source
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError, FileError
from sgmim.finished import ROOMS
from sgmim.objective import Objective
from sgmim.options import arguments, build, recipe_path
from sgmim.plan import Plan
from sgmim.reports.history import History
from sgmim.request import read
from sgmim.sources import NO_DATA, completed, make_source


@dataclass
class Patient:
    """A run by its options; `folder` need not be there yet."""

    config: Namespace
    folder: Path
    room: str
    part: str
    name: str
    whole: bool  # whether it says which model is trained, or only which data are read

    @cached_property
    def plan(self) -> Plan:
        return Plan(**self.config.training.as_dict())

    @cached_property
    def objective(self) -> Objective:
        encoder = make_encoder(**(self.config.encoder.as_dict() | {"pretrained": False}))
        return build(self.room, self.name, encoder, self.config[self.part])

    @cached_property
    def source(self) -> Source:
        source = make_source(**self.config.data.as_dict())
        if source is None:
            raise ConfigurationError(NO_DATA)
        return source

    @cached_property
    def batches(self) -> Batches:
        needs = self.objective.needs if self.whole else tuple(self.source.has)
        source, live = completed(self.source, self.config.data.live, needs)
        size = self.config.encoder.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        options = arguments(Batches, self.config.batches.as_dict())
        options |= {"workers": 0, "broken_share": 1.0}
        return Batches(source, size=size, batch=1, needs=needs, live=live, **options)

    @cached_property
    def history(self) -> History:
        return History(self.folder).update()

    @cached_property
    def processes(self) -> int:
        return self.history.starts[-1]["processes"] if self.history.starts else 1


def patient(words: Sequence[str]) -> Patient | None:
    """The run that options speak of; None where there are none.

    Raises:
        ConfigurationError, FileError: the options are wrong, or the folder holds no run.
    """
    if not words:
        return None
    words = list(words)
    if not words[0].startswith("-"):
        folder = Path(words.pop(0))
        if not (folder / "config.yaml").is_file():
            raise FileError(f"{folder} holds no run: config.yaml is expected")
        words += [f"--recipe={folder / 'config.yaml'}", f"--run={folder}", "--init=null"]
    recipe = _recipe(words)
    command = "finetune" if recipe and "finetune" in recipe else "pretrain"
    room, part = ROOMS[command]
    name, config = read(command, room, part, words if recipe else ["simmim", *words])
    folder = config.run or Path("runs") / f"{command}_{name}"
    return Patient(config, folder, room, part, name, whole=recipe is not None)


def _recipe(words: Sequence[str]) -> dict | None:
    """What is in the recipe that is asked for, if one is."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option == "--recipe":
            found = {}
            with suppress(yaml.YAMLError, UnicodeDecodeError):  # of which `read` will tell
                found = yaml.safe_load(recipe_path(value or after).read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return None
