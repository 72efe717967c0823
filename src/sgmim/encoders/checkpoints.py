"""Checkpoints of others, read without running anything that they may contain."""

import json
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sgmim.errors import DataError

WRAPPERS = ("model", "state_dict", "model_state_dict", "teacher", "student")


# What may be in a file beside tensors: the settings that the authors trained with. SimMIM's are of
# a class of yacs, a dictionary, and become a dictionary; nothing of yacs is asked for.
ALLOWED: list[Any] = [Namespace, (OrderedDict, "yacs.config.CfgNode")]


def contents(file: Path) -> tuple[dict[str, str], dict[Any, Any]]:
    """The header of a file, which a .pth has none of, and what it holds.

    Raises:
        DataError: it is torn, or holds other than tensors and settings.
    """
    return opened(file) if file.suffix == ".safetensors" else ({}, unpickled(file))


def opened(file: Path) -> tuple[dict[str, str], dict[Any, Any]]:
    """The header and the tensors of a .safetensors; DataError where it is none."""
    with understood(file), safe_open(file, "pt") as found:
        header = found.metadata() or {}
        return header, {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118


@contextmanager
def understood(file: Path) -> Iterator[None]:
    """One line for whatever is wrong with a .safetensors."""
    try:
        yield
    except SafetensorError as error:
        raise DataError(f"{file} is no safetensors file, or only a part of one: {error}") from error


def unpickled(file: Path) -> dict[Any, Any]:
    """What a .pth holds.

    Raises:
        DataError: it is torn, holds other than tensors and settings, or has no names.
    """
    try:
        if is_zipfile(file):
            with ZipFile(file) as archive:  # torch never packs them: who does is up to something
                unpacked = sum(part.file_size for part in archive.infolist())
            if unpacked > file.stat().st_size:
                raise ValueError(f"it would unpack to {unpacked} bytes")
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what is torn, rotten or meant to harm fails in any way
        raise DataError(f"{file} is no checkpoint of tensors alone: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no tensors by name, but a {type(content).__name__}")
    return content


def _reason(error: Exception) -> str:
    """What torch has against a file, in one line: it says at length what else one could do."""
    text = str(error).strip() or type(error).__name__
    if at_heart := re.search(r"WeightsUnpickler error:\s*(\S[^\n]*)", text):
        return at_heart[1].partition(" was not an allowed")[0]
    return text.splitlines()[0]


def tensors_of(content: dict[Any, Any], *, student: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint under their names, out of its wrappers.

    DDP's "module." is taken off. Where a teacher and a student are there, as in DINO's, the teacher
    is taken, or the student.
    """
    for wrapper in ("student", *WRAPPERS) if student else WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            if wrapper in ("teacher", "student"):
                break
    return {n.removeprefix("module."): t for n, t in content.items() if _is_plain(n, t)}


def _is_plain(name: Any, tensor: Any) -> bool:
    """Whether this is a weight under its name: no settings, and nothing sparse or larger than
    what there is of it."""
    if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.is_quantized:
        return False
    if tensor.layout != torch.strided:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def told_beside(file: Path, content: dict[Any, Any]) -> dict[str, Any]:
    """What a file says of its encoder beside the weights, or another one in its folder does:
    "heads", "image_size", "window" and "normalization", as far as they are told."""
    arguments = content.get("croco_kwargs", {})
    config = _json(file.with_name("config.json"))
    mean = _json(file.with_name("preprocessor_config.json")).get("image_mean")
    told = {
        "heads": _of(arguments, "enc_num_heads") or _of(config, "num_attention_heads"),
        "image_size": _of(arguments, "img_size") or _of(config, "image_size"),
        "window": _of(config, "window_size"),
        "normalization": MEANS.get(tuple(mean)) if isinstance(mean, list) else None,
    }
    return {name: value for name, value in told.items() if value}


MEANS = {(0.5, 0.5, 0.5): "half", (0.485, 0.456, 0.406): "imagenet", (0.0, 0.0, 0.0): "none"}


def _of(settings: Any, name: str) -> int | None:
    value = settings.get(name) if isinstance(settings, dict) else None
    return value if type(value) is int and 0 < value < 1 << 16 else None


def _json(file: Path) -> dict[str, Any]:
    """The settings that transformers writes beside its weights; none where there are none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
