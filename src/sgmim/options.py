"""The options of a command, made of the signatures of what it builds: they have no second home.

A command's parser gathers callables under names ("encoder", "data"); a keyword of one is an option
(--encoder.image_size) and a line of a recipe alike, with the type and default of the signature.
"""

import inspect
import re
from argparse import ArgumentError
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from importlib import import_module, resources
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from sgmim.data.datasets.base import Dataset
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError, FileError, nearest, unknown
from sgmim.mistakes import holds_dataclass, mistake, taken
from sgmim.objective import Objective
from sgmim.plain_values import read_recipe, refuse_classes
from sgmim.tasks.dense import DensePrediction
from sgmim.tasks.heads.base import Head

HEADS = "tasks.heads"
OFFERS = (Objective, DensePrediction, Head, Dataset)  # a room's file has one of these kinds
RECIPES = Path(str(resources.files("sgmim") / "recipes"))


# how jsonargparse writes a dataclass that it has read
TAKEN = r"Namespace\(class_path='[^']*', init_args=Namespace\(.*?\), __subclasses_disabled__=True\)"


class Parser(ArgumentParser):
    """Reads options and recipes; what it does not know it refuses with the nearest that it does."""

    def __init__(self, command: str = "", description: str = "", **settings: Any):
        """jsonargparse makes parsers of a part with `settings` of its own, and no command."""
        settings |= {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(prog=f"sgmim {command}", description=description, **settings)
        self.parts: list[str] = []

    def add(self, name: str, build: Callable, skip: Iterable[str] = ()) -> None:
        """Make the keywords of `build` options under `name`."""
        self.parts.append(name)
        group = self.add_argument_group((inspect.getdoc(build) or name).partition("\n")[0])
        add = group.add_class_arguments if inspect.isclass(build) else group.add_function_arguments
        add(build, name, skip=set(skip), as_group=False)

    def add_keywords(self, build: Callable, skip: Iterable[str] = ()) -> list[str]:
        """Make the keywords of `build` options without a part's name; returns their names."""
        return self.add_function_arguments(build, as_group=False, skip=set(skip))

    def add_recipe(self) -> None:
        self.add_argument(
            "--recipe", action=ActionConfigFile, help="a recipe's name (sgmim list recipes) or file"
        )

    def read(self, arguments: Sequence[str], defaults: bool = True) -> Namespace:
        """What was asked for; without `defaults`, that alone.

        Raises:
            ConfigurationError: an option or a line of the recipe is unknown or of the wrong type.
        """
        try:
            refuse_classes(arguments)
            words = self._affirmed([self._spelled(word) for word in arguments])
            config = self.parse_args(words, defaults=defaults)
        except RecursionError as error:
            raise ConfigurationError("an option's value is too deep") from error
        except (ArgumentError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(self._explained(str(error))) from error
        self._check_nothing(config)
        return config

    def _spelled(self, word: str) -> str:
        """An option as it is known: dashes in its name count as underscores."""
        option, equals, value = word.partition("=")
        known, other = self._option_string_actions, f"--{option[2:].replace('-', '_')}"
        is_other = option.startswith("--") and option not in known and other in known
        return f"{other}{equals}{value}" if is_other else word

    def _affirmed(self, words: list[str]) -> list[str]:
        """An option of true or false that stands alone is true."""
        known, said = self._option_string_actions, {"true", "false", "yes", "no"}
        return [
            f"{word}=true"
            if getattr(known.get(word), "_typehint", None) is bool and after.lower() not in said
            else word
            for word, after in zip(words, [*words, ""][1:], strict=True)
        ]

    def _check_nothing(self, config: Namespace) -> None:
        """Refuse what jsonargparse lets pass: a part that is none, an option without a value."""
        for part in self.parts:
            if not isinstance(config.get(part, Namespace()), Namespace):
                raise ConfigurationError(f"{part} takes names with values, not {config[part]!r}")
        for option in config.keys():  # noqa: SIM118  (jsonargparse's: of all levels)
            if config[option] is None and "null" not in taken(self._kind(option)):
                raise ConfigurationError(self._mistyped(option, "None"))

    def _explained(self, message: str) -> str:
        """What jsonargparse says of a mistake, in one line and without Python's names for types."""
        if stranger := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
            return f"no option {self._near(stranger[1])}; see '{self.prog} --help'"
        wrong = re.search(r'Parser key "([^"]+)":.*(?:Got|Given) value: (.*)', message, re.S)
        if wrong and holds_dataclass(self._kind(wrong[1])):
            return self._mistyped(*wrong.groups())
        if stranger := re.search(r"Option '(.+?)' is not accepted", message):
            return f"no option {self._near('--' + stranger[1])}, which the recipe speaks of"
        if wrong:
            return self._mistyped(*wrong.groups())
        return re.sub(r"\s*\n\s*", " ", message.strip())

    def _near(self, word: str) -> str:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        return f"{word}{nearest(word, known)}"

    def _mistyped(self, option: str, value: str) -> str:
        given, kind = _read(value), self._kind(option)
        if inside := re.match(r"NestedArg\(key='(.*)', val='?(.*?)'?\)", value):
            name, nested = inside.groups()
            given = {name: _read(nested)} if is_dataclass(next(iter(get_args(kind)), None)) else ""
            given = given or f"{name}: {nested}"
        return mistake(f"--{option}", kind, given)

    def _kind(self, option: str) -> Any:
        action = self._option_string_actions.get(f"--{option}")
        return getattr(action, "_typehint", type(None))


def _read(value: str) -> Any:
    """What Python wrote as a value; text that is none stays as it is, and of a mapping with several
    parts those that jsonargparse has taken are left empty."""
    try:
        return literal_eval(re.sub(TAKEN, "{}", value))
    except (ValueError, SyntaxError):
        return value


def build(
    room: str, name: str, encoder: Encoder, options: Namespace, head: Namespace | None = None
) -> Any:
    """The method or task of some name, around an encoder; a task with the head asked for."""
    kind, options_of_head = find(room, name), head.as_dict() if head else {}
    made = arguments(kind, options.as_dict())
    if head:
        maker = find(HEADS, options_of_head.pop("name"))
        made["head"] = partial(maker, **arguments(maker, options_of_head))
    return kind(encoder, **made)


def arguments(build: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `build` takes them: where its signature asks for a dataclass, one is made."""
    kinds = get_type_hints(build.__init__ if inspect.isclass(build) else build)  # type: ignore[misc]
    return {name: _shaped(kinds.get(name), value) for name, value in options.items()}


def _shaped(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if inspect.isclass(kind) and is_dataclass(kind):
        return kind(**arguments(kind, value))
    for inside in get_args(kind):
        if get_origin(kind) is dict and is_dataclass(inside):
            return {name: _shaped(inside, each) for name, each in value.items()}
        if is_dataclass(inside) or get_origin(inside) is dict:
            return _shaped(inside, value)
    return dict(value)


def find(room: str, name: str) -> Any:
    """What sgmim/`room`/`name`.py is there for: its Objective or Head, or its function `maker`.

    Raises:
        ConfigurationError: there is no such file.
    """
    found = contents(room)
    if name not in found:
        kind = room.rpartition(".")[2]
        raise unknown(kind if kind.endswith("is") else kind.removesuffix("s"), name, found)
    return found[name]


def contents(room: str) -> dict[str, Any]:
    """Everything a room has on offer, by the name of its file."""
    package = import_module(f"sgmim.{room}")
    modules = (
        import_module(f"sgmim.{room}.{file.name}") for file in iter_modules(package.__path__)
    )
    kinds = _kinds(room)
    offers = ((module.__name__.rpartition(".")[2], _offer(module, kinds)) for module in modules)
    return {name: offer for name, offer in offers if offer is not None}


def _kinds(room: str) -> tuple[type, ...]:
    if room == "analysis":  # which takes what draws along: nobody else is to wait for that
        from sgmim.analysis.base import Analysis

        return (Analysis,)
    return OFFERS


def _offer(module: Any, kinds: tuple[type, ...]) -> Any:
    for value in vars(module).values():
        is_own = getattr(value, "__module__", None) == module.__name__
        if is_own and inspect.isclass(value) and issubclass(value, kinds) and value not in kinds:
            return value
    maker = getattr(module, "maker", None)
    return maker if getattr(maker, "__module__", None) == module.__name__ else None


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
    places = [i for i, word in enumerate(rest) if word.partition("=")[0] == "--recipe"]
    if len(places) > 1:
        raise ConfigurationError("a run has one recipe; options beside it take precedence")
    for place in places:
        if "=" not in rest[place]:
            if place + 1 == len(rest):
                raise ConfigurationError("--recipe needs a recipe's name or file")
            rest[place : place + 2] = [f"--recipe={rest[place + 1]}"]
        path = recipe_path(rest[place].partition("=")[2])
        rest[place] = f"--recipe={path}"
        written = read_recipe(path).get(command)
        if not isinstance(written, str):
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


def has_head(task: str) -> bool:
    """Whether a task is made with a head of one's choice; else it has one of its own."""
    return "head" in inspect.signature(find("tasks", task)).parameters


def named_head(arguments: Sequence[str], task: str) -> str:
    """The head that a task is to have: by an option, by the recipe, or the task's own."""
    said = inspect.signature(find("tasks", task)).parameters["head"].default
    said = said.__module__.rpartition(".")[2]
    for word in arguments:
        option, _, path = word.partition("=")
        if option == "--recipe":
            head = read_recipe(recipe_path(path)).get("head")
            said = head.get("name", said) if isinstance(head, dict) else said
    for word, after in zip(arguments, [*arguments, ""][1:], strict=False):
        option, equals, value = word.partition("=")
        if option == "--head.name":
            said = value if equals else after
    return str(said)
