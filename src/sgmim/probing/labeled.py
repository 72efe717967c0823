"""Labeled images and their features: what is known, and what is asked about."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sgmim.data.classes import share_classes
from sgmim.data.images import Source
from sgmim.errors import ConfigurationError
from sgmim.probing.splitting import held_out
from sgmim.sources import make_source

SPLIT = 0  # seed of what is held out to be tested on: the same for every encoder and seed
NO_LABELS = (
    "the images of --{part} have no labels: give --{part}.labels folders where the first folder "
    "below --{part}.images is an image's class, or a --{part}.dataset that has labels"
)


@dataclass(frozen=True)
class Labeled:
    """Features of images, and their classes, on one device."""

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Bool[Tensor, " n"]) -> "Labeled":
        rows = rows.to(self.labels.device)
        return Labeled(self.features[rows], self.labels[rows])


@dataclass(frozen=True)
class Images:
    """Labeled images, which no encoder has seen yet.

    options: of sources.make_source, that they were found by.
    """

    source: Source
    options: Mapping[str, Any]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]


def labeled(source: Source, options: Mapping[str, Any], part: str) -> Images:
    """The labels of images, which are read before anything is computed.

    Args:
        source: of images.
        options: that it was made with.
        part: what these are called by: "data" or "test".

    Raises:
        ConfigurationError: it has no labels.
        DataError: one cannot be read.
    """
    if "label" not in source.has:
        raise ConfigurationError(NO_LABELS.format(part=part))
    labels = torch.stack([source.read(i, {"label"})["label"] for i in range(len(source))])
    known = tuple(getattr(source, "classes", ()))
    return Images(source, options, labels, known or tuple(map(str, range(int(labels.max()) + 1))))


@dataclass(frozen=True)
class Exam:
    """What is known, and what is asked about: images of their own; or a share of those that are
    known, which is held out; or each of these, by all others."""

    known: Images
    asked: Images | None
    held: Bool[Tensor, " n"] | None

    @property
    def classes(self) -> int:
        return len(self.known.classes)

    def parted(self, known: Labeled, asked: Labeled | None) -> tuple[Labeled, Labeled | None]:
        """The features of both parts."""
        return (known, asked) if self.held is None else (known[~self.held], known[self.held])

    def told(self) -> dict[str, Any]:
        """For the record: how many images there are, and the options that find them."""
        held = 0 if self.held is None else int(self.held.sum())
        test = held if self.held is not None else len(self.asked.source) if self.asked else 0
        found = {
            "train": len(self.known.source) - held,
            "test": test,
            "classes": self.classes,
            "learnt_from": _given(self.known.options),
        }
        return found | ({"tested_on": _given(self.asked.options)} if self.asked else {})


def exam(known: Images, asked: Images | None, share: float | None) -> Exam:
    """Images that are known, and those that are asked about, or a share of the known.

    Raises:
        ConfigurationError: there are both, or the share is none.
        DataError: they are not of the same classes.
    """
    if share is None:
        if asked:
            share_classes(known.source, asked.source)
        return Exam(known, asked, None)
    if asked:
        raise ConfigurationError("give --test_share or images to test on, not both")
    if not 0 < share < 1:
        raise ConfigurationError(f"test_share is above 0 and below 1, not {share}")
    return Exam(known, None, held_out(known.labels, share, SPLIT))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that differ from what they are where nobody says anything, as JSON has them."""
    usual = inspect.signature(make_source).parameters
    given = {n: value for n, value in options.items() if value != usual[n].default}
    return json.loads(json.dumps(given, default=str))
