"""An encoder as timm's own: config.json and model.safetensors, as its part of the Hub has them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor

from sgmim.encoders import Encoder, HierarchicalEncoder
from sgmim.encoders.named import NORMED
from sgmim.errors import ConfigurationError
from sgmim.export.card import Usage, license_id
from sgmim.export.check import Pair, Size
from sgmim.export.subject import Subject

USE = """import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
features = model.forward_features(image)  # {shape}
"""


def write(subject: Subject, folder: Path) -> None:
    model = timm.create_model(plain_name(subject.encoder), **arguments(subject.encoder))
    model.load_state_dict(subject.encoder.backbone.state_dict())
    seen = {
        "mean": subject.mean,
        "std": subject.deviation,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",  # the whole image in the encoder's size, as it is evaluated here
    }
    # else timm would tell the license of its own weights of that name
    about = {"tag": "sgmim", "license": license_id(subject.header.get("license", ""))}
    save_for_hf(
        model,
        str(folder),
        model_config={"pretrained_cfg": about},
        safe_serialization=True,
        data_config={"input_size": (subject.encoder.channels, *subject.encoder.image_size)} | seen,
    )


def plain_name(encoder: Encoder) -> str:
    """The name by which timm itself knows a backbone: some here differ in the eps of norms alone,
    of which no file can tell. Raises ConfigurationError where it knows none."""
    normed = NORMED.get(encoder.name)
    if not type(encoder.backbone).__module__.startswith("timm."):
        raise ConfigurationError(
            f"timm has no model like {encoder.name}; take --to onnx or torch instead"
        )
    return normed.base if normed else encoder.name


def arguments(encoder: Encoder) -> dict[str, Any]:
    """What timm.create_model rebuilds the backbone from."""
    options = encoder.options | {"drop_path_rate": 0.0}
    if isinstance(encoder, HierarchicalEncoder) and _is_second(encoder):
        # for images of another size, positions are counted in the windows of this one
        options.setdefault("pretrained_window_sizes", encoder.windows)
    return options


def pairs(subject: Subject, folder: Path) -> Iterator[Pair]:
    own = subject.encoder
    others = windowed_sizes(own) if scales(own) else ()
    for shown in subject.shown(others, **windows_of(own)):
        size = shown.encoder.image_size
        model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=size)
        with torch.no_grad():
            theirs = as_map(shown.encoder, model.eval().forward_features(shown.image))
            yield Pair("features", shown.image, shown.features(), theirs)


def as_map(encoder: Encoder, tokens: Tensor) -> Tensor:
    """What timm gives, tokens (b, n, d) or (b, h, w, d), as a feature map."""
    if tokens.ndim == 4:
        return tokens.permute(0, 3, 1, 2)
    patches = tokens[:, tokens.shape[1] - encoder.grid[0] * encoder.grid[1] :]
    return patches.transpose(1, 2).unflatten(2, encoder.grid)


def scales(encoder: Encoder) -> bool:
    """Whether it means the same for images of another size: windows stay, and so do their biases.

    Tables of positions, and biases of windows that were cut to a stage's grid, are resized, which
    timm does by another rule than the papers.
    """
    if not isinstance(encoder, HierarchicalEncoder):
        return False
    cut = any(max(w) != own for w, own in zip(encoder.windows, encoder.own_windows, strict=True))
    return _is_second(encoder) or not cut


def _is_second(encoder: Encoder) -> bool:
    return isinstance(encoder.backbone, SwinTransformerV2)


def note(subject: Subject) -> str:
    if scales(subject.encoder):
        return "opened with img_size"
    return "at its own size alone: timm resizes positions by another rule than the papers"


def usage(subject: Subject) -> Usage:
    is_plain = not isinstance(subject.encoder, HierarchicalEncoder)
    shape = "(b, tokens, channels)" if is_plain else "(b, h, w, channels)"
    return Usage("timm", USE.format(shape=shape))


def windowed_sizes(encoder: Encoder) -> tuple[Size, ...]:
    """Image sizes, the second not square, of which every stage is more than one whole window."""
    if not isinstance(encoder, HierarchicalEncoder):
        return ()
    side = 2 * encoder.stride * max(encoder.own_windows)
    return (side, side), (side, side + side // 2)


def windows_of(encoder: Encoder) -> dict[str, Any]:
    """The keyword of load_encoder that keeps the windows it has, for images of another size."""
    return {"window": encoder.own_windows} if isinstance(encoder, HierarchicalEncoder) else {}
