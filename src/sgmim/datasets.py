"""A dataset by its name, or by a description of one's own: from words to its reader."""

from collections.abc import Mapping
from pathlib import Path

from jsonargparse import ArgumentParser

from sgmim.data.datasets.base import Dataset
from sgmim.data.described import Described
from sgmim.data.descriptions import Description
from sgmim.data.images import Source
from sgmim.errors import ConfigurationError, FileError
from sgmim.mistakes import fits, mistake
from sgmim.options import Parser, arguments, find
from sgmim.plain_values import names_class, read_recipe

ROOM = "data.datasets"
DESCRIPTIONS = (".yaml", ".yml")
Options = Mapping[str, str | int | float | bool]


def open_dataset(
    name: str, root: Path | None, split: str, options: Options | None = None
) -> Dataset:
    """The reader of a split of a dataset.

    Args:
        name: of a file in data/datasets; or a file in YAML, see descriptions.py.
        root: the dataset's folder.
        split: which of its splits.
        options: of its reader.

    Raises:
        ConfigurationError: there is no such dataset, split or option.
        DataError, FileError: there is no sample, or a description that cannot be read.
    """
    if root is None:
        raise ConfigurationError(f"where is {name}? Give its folder as root")
    if is_description(name):
        if options:
            raise ConfigurationError(f"{name} has no options, and {', '.join(options)} were given")
        return Described(read_description(Path(name)), root, split)
    reader = find(ROOM, name)
    parser = Parser(f"data check {name}")
    parser.add_class_arguments(reader, skip={"root", "split"}, as_group=False)
    given = parser.read([f"--{option}={value}" for option, value in (options or {}).items()])
    return reader(root, split, **given.as_dict())


def is_description(name: str) -> bool:
    return name.endswith(DESCRIPTIONS)


def read_description(path: Path) -> Description:
    """What a file in YAML says of a dataset: plain values, of which nothing is imported or run.

    Raises:
        FileError: there is no such file.
        ConfigurationError: it says too little, or what is not understood.
    """
    if not path.is_file():
        raise FileError(f"there is no description {path}")
    said = read_recipe(path)
    if names_class(said) or not fits(Description, said):
        raise ConfigurationError(mistake(str(path), Description, said))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Description, as_group=False)
    try:
        return Description(**arguments(Description, parser.parse_object(said).as_dict()))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(f"{path} does not describe a dataset: {reason}") from error


def shortfall(source: Source) -> list[str]:
    """What is to be told of a source that is not the whole of what it should be."""
    expected = getattr(source, "expected", None)
    if expected in (None, len(source)):
        return []
    return [f"these are {len(source):,} samples; the whole split has {expected:,}"]
