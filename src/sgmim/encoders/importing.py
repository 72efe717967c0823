"""A checkpoint of others as an encoder of this library: built for it, loaded, and described."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sgmim.encoders import Encoder, make_encoder
from sgmim.encoders.checkpoints import contents, tensors_of, told_beside
from sgmim.encoders.files import BUILDS, encoder_file
from sgmim.encoders.loading import LoadingReport
from sgmim.encoders.shapes import described
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import ConfigurationError, DataError

UNKNOWN = "unknown: that of its source"


@dataclass
class Imported:
    """An encoder with the weights of others, and what is to be known of these."""

    encoder: Encoder
    report: LoadingReport
    metadata: dict[str, Any]  # for the header of its file


def import_encoder(
    file: Path | str,
    *,
    encoder: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    window: int | None = None,
    heads: int | None = None,
    student: bool = False,
    allow_lossy: bool = False,
) -> Imported:
    """Build the encoder that a checkpoint of others is of, and load it.

    Args:
        file: a .pth, .pt, .ckpt, .tar or .safetensors.
        encoder: its name, where that should not be guessed from names and shapes of its tensors.
        image_size: pixels a side that it should be for; tables of positions are resized.
        window: patches a side of a Swin's windows, if others than it was trained with.
        heads: of attention, where nothing tells them.
        student: take DINO's student, not its teacher.
        allow_lossy: give up biases by relative position, where the encoder has no place for them.

    Raises:
        FileError: there is no such file.
        DataError: it cannot be read, is of no known source, or does not fit.
        ConfigurationError: the encoder is not known, or the image size does not suit it.
    """
    file = encoder_file(file)
    header, content = contents(file)
    if header.keys() >= BUILDS:
        raise ConfigurationError(
            f"{file} is an encoder of this library already: give it to --init or load_encoder"
        )
    told = told_beside(file, content) | ({"heads": heads} if heads else {})
    native = _native(content, told, encoder, student)
    with _one_line(file):
        built = make_encoder(**_changed(native, image_size, window))
        with torch.device("meta"):
            saved = make_encoder(**native)
    report = load_into(
        built, content, saved=saved, allow_lossy=allow_lossy, student=student
    )  # fmt: skip
    report.normalization = told.get("normalization", report.normalization)
    return Imported(built, report, _metadata(file, report))


def _native(
    content: dict[Any, Any], told: dict[str, Any], encoder: str | None, student: bool
) -> dict[str, Any]:
    """Keywords of make_encoder for the encoder as it was trained, or for another one named."""
    converted = convert(content, student=student)
    try:
        native = described(converted, tensors_of(content, student=student), told)
    except DataError:
        if encoder is None:
            raise
        return {"name": encoder, "image_size": told.get("image_size", 224)}
    if encoder is None:
        return native
    kept = ("image_size", "channels", *(("window",) if "swin" in encoder else ()))
    return {"name": encoder} | {name: native[name] for name in kept if name in native}


def _changed(
    native: dict[str, Any], image_size: int | tuple[int, int] | None, window: int | None
) -> dict[str, Any]:
    """The same for another image size, or other windows."""
    if image_size is None and window is None:
        return native
    changed = native | {"image_size": image_size or native["image_size"]}
    if "window" in native:
        changed["window"] = window
    elif window is not None:
        raise ConfigurationError(f"{native['name']} has no windows: leave --window out")
    if native["name"].partition("_")[0] in ("swinv2", "mimdepth"):
        # its positions are counted in the windows that it was pre-trained with
        before = {"pretrained_window_sizes": native["window"]}
        changed["options"] = before | native.get("options", {})
    return changed


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """What timm raises of odd shapes, which can be anything."""
    try:
        yield
    except (ConfigurationError, DataError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"no encoder can be built of the shapes in {file}: {reason}") from error


def _metadata(file: Path, report: LoadingReport) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    told = {"normalization": report.normalization} if report.normalization else {}
    return told | {
        "source": report.source,
        "license": report.license or UNKNOWN,
        "imported_from": file.name,
        "sha256": digest.hexdigest(),
        "report": str(report),
    }
