"""The options of a command, made of the signatures of what it builds: they have no second home.

A command's parser gathers callables under names ("encoder", "data"); a keyword of one is an option
(--encoder.image_size) and a line of a recipe alike, with the type and default of the signature.
"""

import inspect
import re
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module, resources
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from sgmim.errors import ConfigurationError, FileError, nearest, unknown
from sgmim.objective import Objective, Task

RECIPES = Path(str(resources.files("sgmim") / "recipes"))


class Parser(ArgumentParser):
    """Reads options and recipes; what it does not know it refuses with the nearest that it does."""

    def __init__(self, command: str, description: str):
        super().__init__(
            prog=f"sgmim {command}",
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
        )

    def add(self, name: str, build: Callable, skip: Iterable[str] = ()) -> None:
        """Make the keywords of `build` options under `name`."""
        add = self.add_class_arguments if inspect.isclass(build) else self.add_function_arguments
        add(build, name, skip=set(skip), as_group=True)

    def add_recipe(self) -> None:
        self.add_argument(
            "--recipe", action=ActionConfigFile, help="a recipe's name (sgmim list recipes) or file"
        )

    def read(self, arguments: Sequence[str]) -> Namespace:
        """What was asked for.

        Raises:
            ConfigurationError: an option or a line of the recipe is unknown or of the wrong type.
        """
        try:
            return self.parse_args(list(arguments))
        except (ArgumentError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(self._explained(str(error))) from error

    def _explained(self, message: str) -> str:
        known = [word for word in self._option_string_actions if word.startswith("--")]
        if stranger := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
            return f"no option {stranger[1]}{nearest(stranger[1], known)}; see '{self.prog} --help'"
        if stranger := re.search(r"Group '(.+?)' does not accept option '(.+?)'", message):
            word = f"--{stranger[1]}.{stranger[2]}"
            return f"no option {word[2:]}{nearest(word, known)} in this recipe"
        wrong = re.search(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL)
        if wrong:
            return f"--{wrong[1]}: {_plain(wrong[2])}"
        return message


def _plain(message: str) -> str:
    """jsonargparse's account of a wrong type, without Python's names for things."""
    message = re.sub(r"<class '([\w.]+)'>", r"\1", message)
    message = message.replace("typing.", "").replace("NoneType", "null")
    return re.sub(r"\s*\n\s*", "; ", message.strip())


def find(room: str, name: str) -> Any:
    """What sgmim/`room`/`name`.py is there for: its Objective, or its function of the same name.

    Raises:
        ConfigurationError: there is no such file.
    """
    found = contents(room)
    if name not in found:
        raise unknown(room.removesuffix("s"), name, found)
    return found[name]


def contents(room: str) -> dict[str, Any]:
    """Everything a room has on offer, by the name of its file."""
    package = import_module(f"sgmim.{room}")
    modules = (
        import_module(f"sgmim.{room}.{file.name}") for file in iter_modules(package.__path__)
    )
    offers = ((module.__name__.rpartition(".")[2], _offer(module)) for module in modules)
    return {name: offer for name, offer in offers if offer is not None}


def _offer(module: Any) -> Any:
    for value in vars(module).values():
        is_own = getattr(value, "__module__", None) == module.__name__
        if is_own and inspect.isclass(value) and issubclass(value, Objective):
            return value
    return getattr(module, module.__name__.rpartition(".")[2], None)


def recipe_path(name: str) -> Path:
    """The file of a recipe, given by its name or as a file.

    Raises:
        ConfigurationError: neither is there.
    """
    if (own := RECIPES / f"{name}.yaml").is_file():
        return own
    if Path(name).is_file():
        return Path(name)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        raise FileError(f"there is no recipe {name}")
    raise unknown("recipe", name, recipes())


def recipes() -> dict[str, Path]:
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def named(arguments: Sequence[str], command: str, room: str) -> tuple[str, list[str]]:
    """What a command is to run, from its first word or from the recipe; and the other arguments.

    Raises:
        ConfigurationError: neither says it, or they differ.
    """
    rest, said = list(arguments), None
    if rest and not rest[0].startswith("-"):
        said = rest.pop(0)
    place = next((i for i, word in enumerate(rest) if word.split("=")[0] == "--recipe"), None)
    if place is not None:
        if "=" not in rest[place]:
            if place + 1 == len(rest):
                raise ConfigurationError("--recipe needs a recipe's name or file")
            rest[place : place + 2] = [f"--recipe={rest[place + 1]}"]
        path = recipe_path(rest[place].partition("=")[2])
        rest[place] = f"--recipe={path}"
        try:
            recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path} is no YAML: {error}") from error
        written = recipe.get(command) if isinstance(recipe, dict) else None
        if written is None:
            raise ConfigurationError(f"{path} is no recipe for 'sgmim {command}'")
        if said not in (None, written):
            raise ConfigurationError(f"the recipe is for {written}, but {said} was asked for")
        said = written
    if said is None:
        if {"-h", "--help"} & set(rest):
            said = next(iter(contents(room)))
        else:
            raise ConfigurationError(
                f"sgmim {command} WHAT? There is {', '.join(contents(room))}; or give a --recipe"
            )
    return said, rest
