"""What is exported: the encoder of a run and, where it was fine-tuned, its task."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data.geometry import NORMALIZATIONS
from sgmim.encoders import Encoder
from sgmim.encoders.files import ENCODER, load_encoder, read_header
from sgmim.errors import ConfigurationError, FileError, unknown
from sgmim.export.check import Size, probe
from sgmim.finished import Finished, open_run
from sgmim.objective import Task
from sgmim.plain_values import read_recipe
from sgmim.protocols import by
from sgmim.runs import CONFIG, OBJECTIVE

LARGEST = 1_000_000  # pixels of an image that is only looked at to compare


class Shown(NamedTuple):
    """An encoder, and images of its size as it is fed them."""

    encoder: Encoder
    image: Float[Tensor, "b c H W"]

    def features(self) -> Float[Tensor, "b dim h w"]:
        return self.encoder(self.image)


@dataclass(frozen=True)
class Subject:
    """An encoder, ready to leave.

    run: folder or file that it is of.
    file: of the encoder.
    encoder: in evaluation mode.
    header: what the file of the encoder says.
    config: what the run was asked to be; nothing where there is only a file.
    normalization: of the images that the encoder is fed.
    finished: the model that was fine-tuned, if it was.
    """

    run: Path
    file: Path
    encoder: Encoder
    header: dict[str, str]
    config: dict[str, Any]
    normalization: str
    finished: Finished | None

    @property
    def task(self) -> Task | None:
        return cast(Task, self.finished.objective) if self.finished else None

    @property
    def name(self) -> str:
        """Of the run, for people."""
        return (self.run.parent if self.run.is_file() else self.run).resolve().name

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, 0 where a normalization says nothing of so many."""
        mean, _ = NORMALIZATIONS[self.normalization]
        return mean if self.encoder.channels == 3 else (0.0,) * self.encoder.channels

    @property
    def deviation(self) -> tuple[float, ...]:
        _, deviation = NORMALIZATIONS[self.normalization]
        return deviation if self.encoder.channels == 3 else (1.0,) * self.encoder.channels

    @cached_property
    def scores(self) -> dict[str, Any]:
        """The record of its scores (scores.py), if the run has one."""
        path = self.run / "scores.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def check_license(self) -> None:
        """Raise ConfigurationError where nobody has said whose the weights are."""
        if is_unknown(self.header.get("license", "")):
            raise ConfigurationError(
                "nobody has said under which license these weights are: give --license, such as "
                "apache-2.0, cc-by-nc-4.0 or other"
            )

    def shown(self, others: Sequence[Size] = (), **changes: Any) -> Iterator[Shown]:
        """The encoder with one and three images of its own size; and made for other sizes, as far
        as it fits them, with one image of each. One that was made for another size than that of
        its file is shown no third: what is resized twice is not what is resized once."""
        for batch in (1, 3):
            yield Shown(self.encoder, self.images(batch, self.encoder.image_size))
        is_own = by(self.encoder.image_size) == by(json.loads(self.header["image_size"]))
        for size in others if is_own else ():
            if (encoder := self.resized(size, **changes)) is not None:
                yield Shown(encoder, self.images(1, size))

    def images(self, batch: int, size: Size) -> Float[Tensor, "b c H W"]:
        """Images to compare on, as the encoder is fed them."""
        return self.normalized(probe(batch, self.encoder.channels, size))

    def normalized(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Colors in [0, 1] as the encoder is fed them."""
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return (image - mean) / deviation

    def resized(self, size: Size, **changes: Any) -> Encoder | None:
        """The encoder for images of another size; nothing where its windows do not fit them, or
        they would take too long to look at."""
        if size == self.encoder.image_size or size[0] * size[1] > LARGEST:
            return None
        try:
            encoder, _ = load_encoder(self.file, image_size=size, **changes)
        except ConfigurationError:
            return None
        return encoder.eval()


def open_subject(
    run: Path,
    *,
    image_size: int | Size | None = None,
    normalization: str | None = None,
    license: str | None = None,
) -> Subject:
    """What is exported of a run.

    Args:
        run: folder of 'sgmim pretrain' or 'sgmim finetune', or the file of an encoder.
        image_size: pixels a side, or down and across, that the encoder is to be for.
        normalization: of its images, where the file does not say.
        license: of the weights, where the file does not say.

    Raises:
        FileError: there is no encoder.
        DataError: it cannot be read.
        ConfigurationError: nobody knows how its images were normalized, or it is no encoder for
            that size.
    """
    file = run if run.suffix == ".safetensors" else run / ENCODER
    if not file.is_file():
        raise FileError(
            f"there is no encoder at {file}: give the folder of a run, or an {ENCODER} "
            "('sgmim weights import' makes one of another project's checkpoint)"
        )
    config = _config(run)
    changes: dict[str, Any] = {"image_size": image_size} if image_size else {}
    encoder, _ = load_encoder(file, **changes)
    header = _licensed(read_header(file), license)
    finished = None
    if "finetune" in config and (run / OBJECTIVE).is_file():
        if changes:
            raise ConfigurationError(
                f"{run} was fine-tuned for images of its own size; of another there is its encoder "
                f"alone: give {file}"
            )
        finished = open_run(run, "finetune", "cpu")
    known = normalization or header.get("normalization", "")
    if known not in NORMALIZATIONS:
        if known:
            raise unknown("normalization", known, NORMALIZATIONS)
        raise ConfigurationError(
            f"{file} does not say how its images were normalized: give --normalization "
            f"{', '.join(NORMALIZATIONS)}"
        )
    return Subject(run, file, encoder.eval(), header, config, known, finished)


def _licensed(header: dict[str, str], license: str | None) -> dict[str, str]:
    said = header.get("license", "")
    if license and not is_unknown(said) and _plain(license) != _plain(said):
        raise ConfigurationError(
            f"these weights are under {said!r}: what is made of them cannot be given {license!r}"
        )
    return header | {"license": license or said}


def _plain(license: str) -> str:
    """The same for "CC BY-NC 4.0" and "cc-by-nc-4.0"."""
    return re.sub(r"[^a-z0-9]", "", license.lower())


def is_unknown(license: str) -> bool:
    """Whether nobody has said; an import from where there is none says "unknown", and why."""
    return not license or license.startswith("unknown")


def _config(run: Path) -> dict[str, Any]:
    """What a run was asked to be."""
    path = run / CONFIG
    return dict(read_recipe(path)) if run.is_dir() and path.is_file() else {}
