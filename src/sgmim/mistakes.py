"""What an option can be, in words, and what is wrong with what it was given."""

from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from sgmim.errors import nearest

WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
WORDS |= {Path: "a path", type(None): "null", Any: "anything"}


def taken(type_: Any) -> list[str]:
    """What an option of some type can be, in words."""
    inside, origin = get_args(type_), get_origin(type_)
    if origin is Literal:
        return [str(choice) for choice in inside]
    if origin in (Union, UnionType):
        return [word for kind in inside for word in taken(kind)]
    if origin is tuple:
        places = ["..." if kind is Ellipsis else taken(kind)[0] for kind in inside]
        return [f"[{', '.join(places)}]"]
    if origin is dict:
        return [f"{{name: {taken(inside[1])[0]}, ...}}"]
    if is_dataclass(type_):
        return ["{" + "".join(f"{field.name}: ..., " for field in fields(type_)[:2]) + "...}"]
    return [WORDS.get(type_, str(type_))]


def mistake(option: str, type_: Any, value: Any) -> str:
    """Why an option's value is refused: the first of what is inside it, where something is."""
    for name, kind, each in _inside(type_, value):
        if kind is None:
            known = [field.name for field in fields(_dataclass(type_))]
            return f"{option} has no {name}{nearest(name, known)}; there is {', '.join(known)}"
        if not fits(kind, each):
            return mistake(f"{option}.{name}", kind, each)
    kinds, said = taken(type_), "null" if value is None else str(value)
    return f"{option} takes {' or '.join(kinds)}, not {said}{nearest(said, kinds)}"


def holds_dataclass(type_: Any) -> bool:
    return is_dataclass(type_) or any(holds_dataclass(inside) for inside in get_args(type_))


def _inside(type_: Any, value: Any) -> list[tuple[str, Any, Any]]:
    """What a value is made of: names, what each can be (None: there is no such), what it is."""
    if not isinstance(value, Mapping):
        return []
    if (made := _dataclass(type_)) is not None:
        kinds = get_type_hints(made)
        return [(name, kinds.get(name), each) for name, each in value.items()]
    for kind in (type_, *get_args(type_)):
        if get_origin(kind) is dict:
            return [(name, get_args(kind)[1], each) for name, each in value.items()]
    return []


def _dataclass(type_: Any) -> Any:
    """The dataclass that a type is or may be."""
    kinds = (type_, *get_args(type_)) if get_origin(type_) in (Union, UnionType) else (type_,)
    return next((kind for kind in kinds if is_dataclass(kind)), None)


def fits(type_: Any, value: Any) -> bool:
    if holds_dataclass(type_) and isinstance(value, Mapping):
        return all(kind is not None and fits(kind, each) for _, kind, each in _inside(type_, value))
    if is_dataclass(type_):
        return False
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=type_)
    try:
        parser.parse_object({"it": value})
    except (ArgumentError, ValueError, TypeError, KeyError):
        return False
    return True
