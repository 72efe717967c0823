"""An encoder as a file: its weights in timm's names, and what it takes to build it again."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

import sgmim
from sgmim.encoders import Encoder, make_encoder
from sgmim.encoders.checkpoints import contents, opened, tensors_of, told_beside, understood
from sgmim.encoders.layouts import TIMM
from sgmim.encoders.loading import LoadingReport
from sgmim.encoders.shapes import described
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.files import write_whole

ENCODER = "encoder.safetensors"  # in the folder of a run
BUILDS = {"name", "options"}  # what a header must say for the encoder to be built from it
FROM_ELSEWHERE = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"}
MOST = 16  # times the parameters of a file that an encoder made from it may have: a larger image


def save_encoder(
    encoder: Encoder, path: Path, *, weights: dict[str, Tensor] | None = None, **metadata: Any
) -> None:
    """Write an encoder in timm's names, with what timm.create_model needs to rebuild it.

    Args:
        encoder: to be kept.
        path: of the file, or the folder of a run.
        weights: of its backbone, if not those that it has by now.
        metadata: what else is to be known: method, recipe, normalization, step, license. What is
            no text is kept as JSON.

    Raises:
        FileError: it cannot be written.
    """
    known = {
        "name": encoder.name,
        "options": encoder.options,
        "image_size": encoder.image_size,
        "windows": getattr(encoder, "windows", None),  # in use: never larger than a stage's grid
        "sgmim": sgmim.__version__,
    }
    header = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (metadata | known).items()}
    weights = encoder.backbone.state_dict() if weights is None else weights
    state = {name: t.detach().cpu().contiguous() for name, t in weights.items()}
    path = Path(path)
    file = path if path.suffix == ".safetensors" else path / ENCODER
    write_whole(file, lambda f: f.write(safetensors.torch.save(state, header)))


def load_encoder(
    path: Path | str, *, at_least: float = 0.95, **changes: Any
) -> tuple[Encoder, LoadingReport]:
    """Build the encoder of a run and load its weights; the report says how much was loaded.

    Args:
        path: a file of save_encoder, or the folder of a run.
        at_least: share of the encoder's parameters that must be loaded.
        changes: keywords of make_encoder that should differ from the saved encoder's, such as
            image_size, drop_path, window (for another image size, by default the backbone's own);
            position tables are resized.

    Raises:
        FileError: there is no such file.
        DataError: it is not an encoder's, or too little of it fits.
    """
    file = encoder_file(path)
    header, state = opened(file)
    if not header.keys() >= BUILDS:
        raise DataError(
            f"{path} does not say which encoder it is of; build that with make_encoder and "
            "load the file with sgmim.encoders.files.initialize"
        )
    encoder = _made(file, _keywords(file, header, state, changes))
    return encoder, initialize(encoder, path, at_least=at_least)


def initialize(encoder: Encoder, path: Path | str, *, at_least: float = 0.95) -> LoadingReport:
    """Load weights into an encoder: of a run, of another project's checkpoint, or timm's.

    Position tables are resized. A .pth is read without running anything it may contain.

    Raises:
        FileError: there is no such file.
        DataError: it cannot be read, or too little of it fits.
    """
    file = encoder_file(path)
    header, state = contents(file)
    if not header.keys() >= BUILDS:
        return load_into(encoder, state, at_least=at_least)
    saved = _made(file, _keywords(file, header, state, {}))
    # only the encoder as it was knows whether its tables are of square windows
    is_like = saved.name == encoder.name
    report = load_into(
        encoder, state, at_least=at_least, saved=saved if is_like else None, layout=TIMM
    )
    report.license, report.normalization = (
        header.get("license", ""),
        header.get("normalization", ""),
    )
    return report


def read_header(path: Path | str) -> dict[str, str]:
    """What the file of an encoder says beside its weights; nothing where it is a checkpoint of
    others. DataError where it is damaged."""
    file = encoder_file(path)
    if file.suffix != ".safetensors":
        return {}
    with understood(file), safe_open(file, "pt") as opened:
        return opened.metadata() or {}


def saved_options(path: Path | str, **changes: Any) -> dict[str, Any]:
    """The keywords of make_encoder that a file of save_encoder was made with; of another's, those
    that its shapes tell, if they tell any."""
    file = encoder_file(path)
    header, state = contents(file)
    if header.keys() >= BUILDS:
        return _keywords(file, header, state, changes)
    with suppress(DataError):
        return described(convert(state), tensors_of(state), told_beside(file, state)) | changes
    return {}


def saved_normalization(path: Path | str) -> str:
    """How images were normalized that the weights of a file were trained with; empty where nothing
    tells."""
    file = encoder_file(path)
    header, state = contents(file)
    if header.keys() >= BUILDS:
        return header.get("normalization", "")
    with suppress(DataError):
        told = told_beside(file, state).get("normalization")
        return told or convert(state).layout.normalization
    return ""


def encoder_file(path: Path | str) -> Path:
    file = Path(path)
    file = (
        file if file.suffix in (".safetensors", ".pth", ".pt", ".ckpt", ".tar") else file / ENCODER
    )
    if not file.is_file():
        raise FileError(
            f"there is no encoder at {file}: give a run's folder, its {ENCODER}, or a .pth"
        )
    return file


def _made(file: Path, keywords: dict[str, Any]) -> Encoder:
    try:
        return make_encoder(**keywords)
    except Exception as error:  # a header can say anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{file} describes no encoder that can be built: {reason}") from error


def _keywords(
    file: Path, header: dict[str, str], state: dict[str, Tensor], changes: dict[str, Any]
) -> dict[str, Any]:
    """Keywords of make_encoder, from a file's header and what should differ.

    Raises:
        DataError: the header is not one of save_encoder, or not of these weights.
    """
    try:
        options = json.loads(header["options"])
        blocks = options.get("depth", options.get("depths", 0))
        if (sum(blocks) if isinstance(blocks, list) else blocks) > len(state):
            raise ValueError(f"{blocks} blocks, but {len(state)} tensors")
        if elsewhere := FROM_ELSEWHERE & options.keys():
            raise ValueError(f"{', '.join(sorted(elsewhere))} in its options")
        keywords = _described(header, options, changes)
        with torch.device("meta"):  # at no cost: what it says may be of any size
            bare = make_encoder(**keywords | {"pretrained": False})
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, ConfigurationError) and changes:
            raise  # the saved encoder cannot be changed in this way
        raise DataError(f"the header of {file} describes no encoder: {reason}") from error
    told = sum(parameter.numel() for parameter in bare.parameters())
    there = sum(tensor.numel() for tensor in state.values())
    if told > MOST * there:
        raise DataError(
            f"the header of {file} is of another file: it describes an encoder of {told} "
            f"parameters, and there are {there}"
        )
    return keywords


def _described(
    header: dict[str, str], options: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
    del options["num_classes"]  # an encoder never has any
    saved = {
        "name": header["name"],
        "image_size": tuple(options.pop("img_size")),
        "channels": options.pop("in_chans"),
        "drop_path": options.pop("drop_path_rate"),
    }
    window = options.pop("window_size", None)  # of a Swin
    size = changes.get("image_size", saved["image_size"])
    is_same = saved["image_size"] == ((size, size) if isinstance(size, int) else tuple(size))
    if window and is_same:
        saved["window"] = tuple(window)
    elif window and saved["name"].startswith("swinv2"):
        # its positions are counted in the windows that it was pre-trained with
        options.setdefault("pretrained_window_sizes", json.loads(header["windows"]))
    return saved | {"options": options} | changes
