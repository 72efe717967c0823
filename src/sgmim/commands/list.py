"""List the methods, encoders, tasks, datasets, analyses, recipes, tables and the rest there are.

sgmim list [methods|encoders|knowledge|tasks|heads|datasets|protocols|analyses|recipes|tables]
           [PATTERN]
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch

from sgmim.datasets import ROOM
from sgmim.encoders import encoder_names
from sgmim.errors import ConfigurationError, unknown
from sgmim.options import HEADS, contents, recipes
from sgmim.protocols import PROTOCOLS
from sgmim.tables import read_table, tables


def main(arguments: Sequence[str]) -> None:
    asked = [word for word in arguments if not word.startswith("-")]
    if len(asked) < len(arguments):
        print(__doc__)
        return
    if len(asked) > 2:
        raise ConfigurationError(f"a list takes a name and a pattern, and nothing like {asked[2]}")
    if asked and asked[0] not in ROOMS:
        raise unknown("list", asked[0], ROOMS)
    pattern = asked[1] if len(asked) > 1 else "*"
    for room in asked[:1] or ROOMS:
        lines = {name: line for name, line in ROOMS[room]().items() if fnmatch(name, pattern)}
        if room == "encoders" and not asked:
            print(f"encoders: {len(lines)} of timm's and SimMIM's, see 'sgmim list encoders'")
            continue
        print(f"{room}:")
        for name, line in lines.items():
            print(f"  {name:<34} {line}".rstrip())


def _documented(room: str) -> Callable[[], dict[str, str]]:
    return lambda: {name: _first_line(offer.__doc__) for name, offer in contents(room).items()}


def _recipes() -> dict[str, str]:
    texts = {name: path.read_text(encoding="utf-8") for name, path in recipes().items()}
    return {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


ROOMS: dict[str, Callable[[], dict[str, str]]] = {
    "methods": _documented("methods"),
    "encoders": lambda: dict.fromkeys(encoder_names(), ""),
    "knowledge": _documented("knowledge"),
    "tasks": _documented("tasks"),
    "heads": _documented(HEADS),
    "datasets": _documented(ROOM),
    "protocols": lambda: {name: each.title for name, each in PROTOCOLS.items()},
    "analyses": _documented("analysis"),
    "recipes": _recipes,
    "tables": lambda: {name: read_table(name).title for name in tables()},
}
