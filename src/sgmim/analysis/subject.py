"""Who is looked at: encoders of runs, files of encoders, checkpoints of others, new weights.

runs/sgmim                 a run, which legends call by its folder's name
SG-MIM=runs/sgmim          the same, called SG-MIM
encoder.safetensors        the file of an encoder, also of an export
mae_pretrain_vit_base.pth  what others released (docs/weights.md)
new, scratch=new           like the first of those that are not new, before any training
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from sgmim.analysis.base import Subject
from sgmim.data.geometry import NORMALIZATIONS
from sgmim.encoders import Encoder, make_encoder
from sgmim.encoders.files import (
    BUILDS,
    initialize,
    load_encoder,
    read_header,
    saved_normalization,
    saved_options,
)
from sgmim.errors import ConfigurationError, DataError
from sgmim.finished import open_run
from sgmim.options import find
from sgmim.plain_values import read_recipe
from sgmim.runs import CONFIG

NEW = "new"
SEED = 0  # of new weights


def open_subjects(
    words: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    size: int | tuple[int, int] | None = None,
    whole: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[Subject]:
    """Open one after the other, in the order that is given.

    Args:
        words: as above.
        device: that they are put on.
        size: of images, where it is not to be that of each encoder; positions are resized.
        whole: with the method that pre-trained each, at the size that it was trained at.
        changes: of options of that method.

    Raises:
        ConfigurationError: two of one name, nothing that new weights could be like, an encoder of
            other channels than red, green and blue, or one that cannot have this size.
        FileError: there is nothing of that name.
        DataError: it cannot be read.
    """
    places = named(words)
    like = next((place for place in places.values() if place != NEW), None)
    if like is None:
        raise ConfigurationError("new weights are those of an encoder like another: give a run too")
    if whole and (size or NEW in places.values()):
        raise ConfigurationError(
            "this asks the method that pre-trained an encoder: there is none for new weights, nor "
            "for another --size"
        )
    for name, place in places.items():
        if whole:
            yield _with_method(name, Path(place), device, changes or {})
        else:
            encoder = _new(like, size) if place == NEW else _loaded(place, size)
            _check(name, encoder)
            run = None if place == NEW else Path(place)
            normalization = normalization_of(like if place == NEW else place)
            yield Subject(name, encoder.to(device).eval(), normalization, run)


def named(words: Sequence[str]) -> dict[str, str]:
    """What each word calls, and where that lies; ConfigurationError for a name given twice."""
    places: dict[str, str] = {}
    for word in words:
        before, equals, after = word.partition("=")
        is_named = equals and before and not Path(word).exists()
        name, place = (before, after) if is_named else (_name(word), word)
        if name in places:
            raise ConfigurationError(
                f"two of them are called {name}: name them, as in first={places[name]} "
                f"second={place}"
            )
        places[name] = place
    return places


def normalization_of(place: str) -> str:
    """Of the images that an encoder was trained with; ImageNet's where nothing tells."""
    told = saved_normalization(place)
    return told if told in NORMALIZATIONS else "imagenet"


def _name(word: str) -> str:
    path = Path(word)
    if path.suffix == ".safetensors":
        path = path.parent
    return path.resolve().name.removesuffix(path.suffix if path.is_file() else "")


def _loaded(place: str, size: int | tuple[int, int] | None) -> Encoder:
    """The encoder of a run or of a file, also of others' projects."""
    if read_header(place).keys() >= BUILDS:
        return load_encoder(place, **_sized(size))[0]
    encoder = _described(place, size)
    initialize(encoder, place)
    return encoder


def _new(place: str, size: int | tuple[int, int] | None) -> Encoder:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(SEED)
        return _described(place, size)


def _described(place: str, size: int | tuple[int, int] | None) -> Encoder:
    if not (options := saved_options(place, **_sized(size))):
        raise DataError(
            f"{place} does not tell which encoder it is of; start a run from it (--init), or load "
            "it in Python: sgmim.encoders.files.initialize"
        )
    return make_encoder(**options)


def _sized(size: int | tuple[int, int] | None) -> dict[str, Any]:
    return {"image_size": size} if size else {}


def _with_method(
    name: str, run: Path, device: torch.device | str, changes: Mapping[str, Any]
) -> Subject:
    words = [f"--method.{option}={json.dumps(value)}" for option, value in changes.items()]
    found = open_run(run, "pretrain", str(device), words if _takes(run, changes) else ())
    _check(name, found.objective.encoder)
    return Subject(name, found.objective.encoder, found.normalization, run, found.objective)


def _takes(run: Path, changes: Mapping[str, Any]) -> bool:
    """Whether the method of a run has these options; MoCo v3, which hides nothing, has none of a
    mask, and what asks for them says so in its own words."""
    path = run / CONFIG
    if not path.is_file():
        return True  # it is no run at all, as open_run will say
    method = read_recipe(path).get("pretrain")
    if not isinstance(method, str):
        raise ConfigurationError(
            f"{run} is no run of 'sgmim pretrain': this asks the method that pre-trained an encoder"
        )
    return set(signature(find("methods", method)).parameters) >= changes.keys()


def _check(name: str, encoder: Encoder) -> None:
    if encoder.channels != 3:
        raise ConfigurationError(
            f"{name} sees images of {encoder.channels} channels, and the data has red, green, blue"
        )
