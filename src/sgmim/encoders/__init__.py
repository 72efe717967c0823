"""Backbones that can be told which patches they may see."""

from difflib import get_close_matches
from fnmatch import fnmatch
from math import lcm
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer

from sgmim.encoders.base import Encoder
from sgmim.encoders.hierarchical import HierarchicalEncoder
from sgmim.encoders.named import NAMED, NORMED
from sgmim.encoders.plain import PlainEncoder
from sgmim.encoders.rotary import ROTARY
from sgmim.errors import ConfigurationError, DataError, listed, nearest

__all__ = ["Encoder", "HierarchicalEncoder", "PlainEncoder", "encoder_names", "make_encoder"]

MODULES = (
    "vision_transformer",
    "deit",
    "beit",
    "swin_transformer",
    "swin_transformer_v2",
)  # timm's


def make_encoder(
    name: str = "swin_base_patch4_window7_224",
    *,
    image_size: int | tuple[int, int] = 192,
    window: int | tuple[int, ...] | None = None,
    channels: int = 3,
    pretrained: bool = False,
    drop_path: float = 0.0,
    checkpointing: bool = False,
    options: dict[str, Any] | None = None,
) -> Encoder:
    """Build an encoder around a timm ViT, BEiT, Swin or SwinV2, for any image size.

    Args:
        name: timm's name of the backbone, or a paper's: {simmim,mae,multimae,croco}_vit_{tiny,
            small,base,large}_patch16, mocov3_vit_{small,base}_patch16, or
            {kamim,rotary}_vit_{tiny,small,base,large}_patch16 (rotary: positions as in CroCo v2).
        image_size: pixels a side, or down and across.
        window: patches a side of Swin's windows, one number or one a stage; by default the
            backbone's own, or the nearest that fits the image.
        channels: channels of an image.
        pretrained: start from the weights that timm has for this name.
        drop_path: largest rate of stochastic depth, below 1.
        checkpointing: recompute activations in the backward pass: less memory, a third slower.
        options: further keywords of the timm model.

    Raises:
        ConfigurationError: the backbone is not known or has no patches that could be hidden, or
            its patches or windows do not fit the image; the message names the nearest that fit.
            Or a drop_path that is no rate.
    """
    if not 0 <= drop_path < 1:
        raise ConfigurationError(
            f"drop_path is how often a block is left out, from 0 to below 1, not {drop_path}"
        )
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    size = (height, width)
    named = NAMED.get(name)
    if named and pretrained:
        raise ConfigurationError(f"timm has no weights of {name}: give a checkpoint as --init")
    name, options = _timm_name(name, options or {})
    bare = _bare(name, options)
    _check_size(name, size, bare.stride)
    options = {"img_size": size, "in_chans": channels, "drop_path_rate": drop_path} | options
    if isinstance(bare, HierarchicalEncoder):
        grids = [(height // stride, width // stride) for stride in bare.strides]
        options["window_size"] = _windows(name, size, window, bare.own_windows, grids)
    elif window is not None:
        raise ConfigurationError(f"{name} has no windows: leave the option 'window' out")
    else:
        options["global_pool"] = ""  # the final norm comes before any pooling, as in the papers
        if isinstance(bare.backbone, VisionTransformer):
            options["fc_norm"] = False
    backbone = _create(name, pretrained, options)
    if named:
        named.begin(backbone)
    backbone.set_grad_checkpointing(checkpointing)
    return wrap(backbone, name, options)


def wrap(backbone: Any, name: str, options: dict[str, Any]) -> Encoder:
    """The encoder around a timm model; raises ConfigurationError where there is none for it."""
    for kind in (PlainEncoder, HierarchicalEncoder):
        if type(backbone) in kind.backbones and type(backbone.patch_embed) is PatchEmbed:
            return kind(backbone, name, {**options, "num_classes": 0})
    raise ConfigurationError(
        f"{name!r} is a {type(backbone).__name__}: its patches cannot be hidden"
        f"{nearest(name, encoder_names())}; see 'sgmim list encoders'"
    )


def encoder_names() -> list[str]:
    """The names make_encoder knows."""
    known = [name for module in MODULES for name in timm.list_models(module=module)]
    other = ("*distilled*", "vit_base_mci_224")  # two heads; a stem of convolutions
    known = [name for name in known if not any(fnmatch(name, pattern) for pattern in other)]
    return [*NAMED, *NORMED, *ROTARY, *known]


def _timm_name(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if named := NAMED.get(name):
        return named.base, named.options | options
    if not timm.is_model(name):
        family = [known for known in encoder_names() if known.split("_")[0] == name.split("_")[0]]
        near = get_close_matches(name, family or encoder_names(), n=4, cutoff=0.4)
        raise ConfigurationError(
            f"no encoder {name!r}"
            + (f" (did you mean {near[0]!r}? others like it: {listed(near[1:])})" if near else "")
            + "; 'sgmim list encoders' names them all"
        )
    return name, options


def _bare(name: str, options: dict[str, Any]) -> Encoder:
    """The encoder in timm's own size, without weights: what it is made of, at no cost."""
    shape = {key: value for key, value in options.items() if key != "pretrained_cfg_overlay"}
    if shape.get("class_token") is False:
        shape |= {"global_pool": ""}  # what it is built with; timm would ask for the token
    try:
        with torch.device("meta"):
            bare = timm.create_model(name, num_classes=0, **shape)
    except TypeError as error:
        raise ConfigurationError(f"{name} does not take these options: {error}") from error
    return wrap(bare, name, options)


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    """The timm model with weights, new or pre-trained.

    Some pre-trained ViTs normalize after pooling (fc_norm): there the norm moves before it.
    """
    overlay = options.pop("pretrained_cfg_overlay", None)
    if not pretrained:
        return timm.create_model(name, num_classes=0, **options)
    asked = {key: value for key, value in options.items() if key not in ("global_pool", "fc_norm")}
    source = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **asked
    )
    state = source.state_dict()
    if "fc_norm.weight" in state:
        state = {key.replace("fc_norm.", "norm."): value for key, value in state.items()}
    target = timm.create_model(name, num_classes=0, **options)
    missing = target.load_state_dict(state, strict=False).missing_keys  # pooling layers stay behind
    if missing:
        raise DataError(f"the pre-trained weights of {name} lack {listed(missing)}")
    return target


def _check_size(name: str, size: tuple[int, int], cell: int) -> None:
    if any(side % cell or side < cell for side in size):
        near = [max(cell, cell * round(side / cell)) for side in size]
        raise ConfigurationError(
            f"{name} sees cells of {cell} pixels, which do not divide a {size[0]} x {size[1]} "
            f"image: the nearest that fits is {near[0]} x {near[1]}"
        )


def _windows(
    name: str,
    size: tuple[int, int],
    asked: int | tuple[int, ...] | None,
    own: tuple[int, ...],
    grids: list[tuple[int, int]],
) -> tuple[int, ...]:
    """The window of every stage, checked against its grid (a window never exceeds the grid)."""
    wanted = own if asked is None else (asked,) * len(grids) if isinstance(asked, int) else asked
    if len(wanted) != len(grids):
        raise ConfigurationError(f"{name} has {len(grids)} stages, not {len(wanted)}: {wanted}")
    if all(map(_fits, wanted, grids)):
        return tuple(wanted)
    common = [side for side in range(2, max(grids[0]) + 1) if all(_fits(side, g) for g in grids)]
    near = min(common, key=lambda side: (abs(side - wanted[0]), -side))
    if asked is None:
        return (near,) * len(grids)
    raise ConfigurationError(
        f"windows of {asked} patches do not divide a {size[0]} x {size[1]} image, whose stages "
        f"are {', '.join(f'{h} x {w}' for h, w in grids)} patches: the nearest window is {near}; "
        f"the nearest image is {_image_for(wanted[0], size, grids)}"
    )


def _fits(window: int, grid: tuple[int, int]) -> bool:
    return all(side % min(window, side) == 0 for side in grid)


def _image_for(window: int, size: tuple[int, int], grids: list[tuple[int, int]]) -> str:
    """The nearest image size whose last stage is a whole number of windows."""
    stride = size[0] // grids[-1][0]
    cell = lcm(stride, stride * window)
    return " x ".join(str(max(cell, cell * round(side / cell))) for side in size)
