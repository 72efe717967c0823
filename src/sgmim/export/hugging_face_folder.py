"""An encoder as a model of transformers, with the image processor that feeds it.

A model that was fine-tuned is no model of theirs: it leaves as a folder of our own, which needs
sgmim to be opened (own_folder.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sgmim.encoders import Encoder, HierarchicalEncoder
from sgmim.encoders.plain import PlainEncoder
from sgmim.errors import ConfigurationError, listed
from sgmim.export import own_folder
from sgmim.export.card import Usage
from sgmim.export.check import Pair, Size
from sgmim.export.hugging_face_names import MODELS, parted, settings, timm_name
from sgmim.export.subject import Subject
from sgmim.export.timm_folder import as_map, windowed_sizes

INSTEAD = "take --to timm, onnx or torch instead"
ELSEWHERE = "take --to onnx or torch instead"  # what timm has not, either
BILINEAR = 2  # as PIL numbers it
USE = """from transformers import AutoImageProcessor, AutoModel

processor = AutoImageProcessor.from_pretrained("FOLDER")
model = AutoModel.from_pretrained("FOLDER").eval()
said = model(**processor(images=image, return_tensors="pt"))
said.last_hidden_state  # (b, tokens, channels)
said.pooler_output  # (b, channels): {pooled}
"""


def write(subject: Subject, folder: Path) -> None:
    if subject.task:
        own_folder.write(subject, folder)
        return
    model = converted(subject.encoder)
    with quiet():
        model.save_pretrained(folder)
    if subject.encoder.channels == 3:
        _processor(subject, folder)


def converted(encoder: Encoder) -> Any:
    """The model of transformers with an encoder's weights.

    Raises:
        ConfigurationError: theirs is another network in some point, and in which.
    """
    import transformers

    kind = MODELS.get(type(encoder.backbone))
    if kind is None:
        raise ConfigurationError(f"transformers has no model like {encoder.name}; {ELSEWHERE}")
    _check_windows(kind, encoder)
    made = getattr(transformers, kind)
    model = made(made.config_class(**settings(encoder))).eval()
    own, state = parted(encoder.backbone.state_dict()), {}
    wanted = {n: t for n, t in model.state_dict().items() if not n.startswith("pooler.")}
    for name, tensor in wanted.items():
        found = own.get(timm_name(name))
        if found is not None and found.shape == tensor.shape:
            state[name] = own.pop(timm_name(name))
    lacks = sorted(timm_name(name) for name in wanted.keys() - state.keys())
    if lacks or own:
        wants = f"it must have {listed(lacks, most=3)} as it is made there" * bool(lacks)
        keeps = f"it has no place for {listed(sorted(own), most=3)}" * bool(own)
        why = " and ".join(filter(None, (wants, keeps)))
        raise ConfigurationError(f"{kind} cannot be this {encoder.name}: {why}; {INSTEAD}")
    if kind == "ViTModel":
        # their pooler is a layer that no encoder here has: it hands on the class token as it is
        state |= {"pooler.dense.weight": torch.eye(encoder.dim)}
        state |= {"pooler.dense.bias": torch.zeros(encoder.dim)}
    model.load_state_dict(state)
    return model


def _check_windows(kind: str, encoder: Encoder) -> None:
    """Refuse what theirs would take and see otherwise."""
    height, width = encoder.image_size
    if kind == "BeitModel" and height != width:
        raise ConfigurationError(
            f"BeitModel mixes up rows and columns of the biases of a {height} x {width} image; "
            f"give --image_size for a square one, or {INSTEAD}"
        )
    if not isinstance(encoder, HierarchicalEncoder):
        return
    rows = [height // stride for stride in encoder.strides]
    most = max(max(pair) for pair in encoder.windows)
    clipped = [min(most, row) if kind == "Swinv2Model" else most for row in rows]
    alike = all(tuple(w) == (c, c) for w, c in zip(encoder.windows, clipped, strict=True))
    shifts = [block.shift_size for block in encoder.blocks]
    if not alike or any(down != across for down, across in shifts):
        raise ConfigurationError(
            f"{kind} has square windows of one size, shifted both ways or not at all; of a "
            f"{height} x {width} image this {encoder.name} has {_told(encoder)}: give an "
            f"--image_size whose last stage is square or of several windows, or {INSTEAD}"
        )


def _told(encoder: HierarchicalEncoder) -> str:
    return ", ".join(f"{down} x {across}" for down, across in encoder.windows)


def _processor(subject: Subject, folder: Path) -> None:
    from transformers import BeitImageProcessor, ViTImageProcessor

    height, width = subject.encoder.image_size
    is_beit = MODELS[type(subject.encoder.backbone)] == "BeitModel"
    processor = (BeitImageProcessor if is_beit else ViTImageProcessor)(
        do_resize=True,
        size={"height": height, "width": width},
        resample=BILINEAR,
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        image_mean=list(subject.mean),
        image_std=list(subject.deviation),
    )
    processor.save_pretrained(folder)


def pairs(subject: Subject, folder: Path) -> Iterator[Pair]:
    if subject.task:
        yield from own_folder.pairs(subject, folder)
        return
    for shown in subject.shown(other_sizes(subject.encoder), **_window(subject.encoder)):
        encoder, image = shown
        with torch.no_grad(), quiet():
            tokens = _said(folder, image, resized=encoder is not subject.encoder)
        if isinstance(encoder, HierarchicalEncoder):
            tokens = tokens.unflatten(1, encoder.grid)
        with torch.no_grad():
            yield Pair("features", image, shown.features(), as_map(encoder, tokens))


def _window(encoder: Encoder) -> dict[str, Any]:
    """The keyword of load_encoder for the one window of theirs, for images of another size."""
    if not isinstance(encoder, HierarchicalEncoder):
        return {}
    return {"window": max(max(pair) for pair in encoder.windows)}


def _said(folder: Path, image: Tensor, resized: bool) -> Tensor:
    """What their model says, opened anew: a Swin remembers the smallest image it was shown."""
    from transformers import AutoConfig, AutoModel

    is_vit = AutoConfig.from_pretrained(folder).model_type == "vit"
    size = {"image_size": list(image.shape[2:])} if resized and not is_vit else {}
    positions = {"interpolate_pos_encoding": True} if resized and is_vit else {}
    model = AutoModel.from_pretrained(folder, **size).eval()
    return model(image, **positions).last_hidden_state


@contextmanager
def quiet() -> Iterator[None]:
    """Without bars of progress for what takes no time."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def other_sizes(encoder: Encoder) -> tuple[Size, ...]:
    """Image sizes at which theirs gives the same, besides its own."""
    height, width = encoder.image_size
    if _is_vit(encoder) and height == width:
        more = 2 * encoder.patch
        return (height + more, width + more), (height + more, width + 2 * more)
    return windowed_sizes(encoder)


def _is_vit(encoder: Encoder) -> bool:
    return MODELS.get(type(encoder.backbone)) == "ViTModel"


def note(subject: Subject) -> str:
    encoder = subject.encoder
    if subject.task:
        return own_folder.note(subject)
    if isinstance(encoder, HierarchicalEncoder):
        return "opened with image_size"
    if not _is_vit(encoder):
        return "at its own size alone: transformers resizes biases by another rule than BEiT"
    if encoder.grid[0] != encoder.grid[1]:
        return "at its own size alone: transformers resizes positions of square images only"
    return "with interpolate_pos_encoding"


def usage(subject: Subject) -> Usage:
    if subject.task:
        return own_folder.usage(subject)
    plain = isinstance(subject.encoder, PlainEncoder)
    pooled = "the class token" if plain else "the mean of all tokens"
    return Usage("transformers", USE.format(pooled=pooled))
