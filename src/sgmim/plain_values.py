"""Recipes and options from anybody: plain values, nothing that is imported, run or blown up."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sgmim.errors import ConfigurationError

SETTINGS = 10_000  # in a recipe, at most: references can make billions of a few lines


def read_recipe(path: Path) -> dict[str, Any]:
    """What a recipe says; nothing where it holds no names with values.

    Raises:
        ConfigurationError: it is no YAML, or so deep or so large that nobody wrote it.
    """
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        if _size(recipe, {}) > SETTINGS:
            raise RecursionError
    except RecursionError as error:
        raise ConfigurationError(f"{path} is no recipe: it is too deep or too large") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1} of {path}" if place else path
        problem = getattr(error, "problem", None) or error
        raise ConfigurationError(f"{where} is no YAML: {problem}") from error
    return recipe if isinstance(recipe, dict) else {}


def refuse_classes(arguments: Iterable[str]) -> None:
    """Refuse values that name a class, which jsonargparse would import where anything is allowed.

    Raises:
        ConfigurationError: there is a class_path, also in a text that reads as YAML.
    """
    for word in arguments:
        name, _, value = word.partition("=")
        said = read_recipe(Path(value)) if name == "--recipe" and value else value or word
        if "class_path" in name or names_class(said):
            raise ConfigurationError(f"{name} names a class by its class_path; options are values")


def names_class(value: Any) -> bool:
    if isinstance(value, dict):
        return "class_path" in value or any(map(names_class, value.values()))
    if isinstance(value, list):
        return any(map(names_class, value))
    if not isinstance(value, str):
        return False
    try:
        inside = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return False
    return not isinstance(inside, str) and names_class(inside)


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Options of all levels as one dictionary, a.b.c -> value. Of a mapping that says nothing but
    its name, as a map that guides with all its options left out, the name is there too."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if not isinstance(value, Mapping):
            found[f"{above}{name}"] = value
            continue
        if value and all(each is None for each in value.values()):
            found[f"{above}{name}"] = {}
        found |= flat(value, f"{above}{name}.")
    return found


def _size(tree: Any, known: dict[int, int]) -> int:
    """How many settings there are, each as often as it is referred to; a circle never ends."""
    if id(tree) not in known:
        parts = tree.values() if isinstance(tree, dict) else tree
        within = parts if isinstance(tree, dict | list) else ()
        known[id(tree)] = 1 + sum(_size(part, known) for part in within)
    return known[id(tree)]
