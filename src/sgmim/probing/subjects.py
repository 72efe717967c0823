"""The encoders that are probed: of runs, of files, of others, and new ones to compare with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sgmim import draws
from sgmim.data.geometry import NORMALIZATIONS
from sgmim.encoders import Encoder, make_encoder
from sgmim.encoders.files import (
    BUILDS,
    ENCODER,
    encoder_file,
    load_encoder,
    read_header,
    saved_normalization,
)
from sgmim.encoders.importing import import_encoder
from sgmim.errors import ConfigurationError, unknown
from sgmim.scores import sha256

NEW = "new"  # in place of a run: an encoder that has learnt nothing


@dataclass(frozen=True)
class Probed:
    """An encoder, ready to be probed.

    name: for people.
    encoder: in evaluation mode.
    normalization: of the images that it is fed.
    file: of its weights; none of a new one.
    sha256: of that file; of the weights themselves where there is none.
    folder: where records of it go.
    """

    name: str
    encoder: Encoder
    normalization: str
    file: Path | None
    sha256: str
    folder: Path


def opened(
    run: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    normalization: str | None = None,
    new: Mapping[str, Any],
    seed: int = 0,
) -> Probed:
    """The encoder of a run.

    Args:
        run: folder of 'sgmim pretrain' or 'sgmim finetune'; file of an encoder; checkpoint of
            another project; or "new".
        image_size: pixels a side that it is to be for, if not its own.
        normalization: of its images, where nothing tells.
        new: keywords of make_encoder, of a new one.
        seed: of a new one's weights.

    Raises:
        FileError: there is no such file.
        DataError: it is not an encoder's.
        ConfigurationError: nobody knows how its images were normalized, or the size does not fit.
    """
    size: dict[str, Any] = {"image_size": image_size} if image_size else {}
    if run == NEW:
        return _new({**new, **size}, normalization or "imagenet", seed)
    path, file = Path(run), encoder_file(run)
    known = normalization or saved_normalization(run)
    if known not in NORMALIZATIONS:
        if known:
            raise unknown("normalization", known, NORMALIZATIONS)
        raise ConfigurationError(
            f"{file} does not say how its images were normalized: give --normalization "
            f"{', '.join(NORMALIZATIONS)}"
        )
    if read_header(file).keys() >= BUILDS:
        encoder, _ = load_encoder(file, **size)
    else:
        encoder = import_encoder(file, **size).encoder
    folder = path.parent if path.is_file() else path
    name = folder.resolve().name if file.name == ENCODER else file.stem
    return Probed(name, encoder.eval(), known, file, sha256(file), folder)


def _new(keywords: dict[str, Any], normalization: str, seed: int) -> Probed:
    with torch.random.fork_rng():
        draws.seed_step(seed, 0)
        encoder = make_encoder(**keywords)
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return Probed(NEW, encoder.eval(), normalization, None, digest.hexdigest(), Path(NEW))


def named_apart(probed: list[Probed]) -> list[str]:
    """Names for a table: the folder's, or the whole path of those that share one."""
    names = [each.name for each in probed]
    return [
        str(each.file or each.name) if names.count(each.name) > 1 else each.name for each in probed
    ]
