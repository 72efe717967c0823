"""Which encoder weights are of, from their shapes: width, depth, heads, patch, image and window.

A file keeps no heads of a ViT whose attention has no biases by position: those come from the sizes
that the papers use, or from what a file says beside its weights.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from sgmim.encoders.layouts import Converted, State
from sgmim.errors import DataError

HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1536: 24}
SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}  # a ViT's width -> its name
DEPTHS = {"tiny": 12, "small": 12, "base": 12, "large": 24}
SWINS: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (2, 2, 6, 2)): "tiny",
    (96, (2, 2, 18, 2)): "small",
    (128, (2, 2, 18, 2)): "base",
    (192, (2, 2, 18, 2)): "large",
}
SWIN_HEADS = {"tiny": 3, "small": 3, "base": 4, "large": 6}  # of the first stage
TABLE = "relative_position_bias_table"


def described(converted: Converted, tensors: State, told: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of make_encoder for the encoder that weights are of.

    Args:
        converted: the weights.
        tensors: all of the checkpoint, by its own names.
        told: beside them: "heads", "image_size", "window".

    Raises:
        DataError: they do not tell it.
    """
    state, family = converted.state, converted.layout.family
    try:
        if any(name.startswith("layers.0.blocks.") for name in state):
            return _swin(state, tensors, told, family)
        relative = any(TABLE in name or name.endswith(("gamma_1", "q_bias")) for name in state)
        return (_beit if relative else _vit)(state, told, family)
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise DataError(
            f"these weights of {converted.source} do not tell which encoder they are of "
            f"({str(error).partition(chr(10))[0]}): tell it by --heads or --window, or name it by"
            " --encoder"
        ) from error


def _vit(state: State, told: Mapping[str, Any], family: str) -> dict[str, Any]:
    if family == "croco_vit" and "pos_embed" not in state:  # the second version turns its tokens
        family = "rotary_vit"
    plain = _plain(state, told, family or "vit")
    flags: dict[str, Any] = {}
    if "cls_token" not in state and family not in ("croco_vit", "rotary_vit"):
        flags |= {"class_token": False, "global_pool": ""}
    if "norm.weight" not in state and family != "multimae_vit":
        flags["final_norm"] = False
    if "blocks.0.attn.qkv.bias" not in state:
        flags["qkv_bias"] = False
    if "blocks.0.ls1.gamma" in state:
        flags["init_values"] = 1e-5
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    if registers:
        flags["reg_tokens"] = registers
    if "pos_embed" in state:
        count = state["pos_embed"].shape[1]
        grid = _side(count - registers - ("cls_token" in state), "positions")
        plain["image_size"] = told.get("image_size") or grid * plain.pop("patch")
    else:
        flags |= {"pos_embed": "none"} if family != "rotary_vit" else {}
        plain["image_size"] = told.get("image_size") or 14 * plain.pop("patch")
    plain.pop("patch", None)
    return plain | {"options": plain["options"] | flags}


def _beit(state: State, told: Mapping[str, Any], family: str) -> dict[str, Any]:
    tables = [tensor for name, tensor in state.items() if name.endswith(TABLE)]
    shared, absolute = f"rel_pos_bias.{TABLE}" in state, "pos_embed" in state
    is_simmim = shared and not absolute and family == "simmim_vit"
    family = family if is_simmim or family == "hf_beit" else "beit"
    plain = _plain(state, {"heads": tables[0].shape[1], **told}, family)
    if not is_simmim:
        plain["options"] |= {
            "use_abs_pos_emb": absolute,
            "use_rel_pos_bias": not shared,
            "use_shared_rel_pos_bias": shared,
            "init_values": 0.1 if "blocks.0.gamma_1" in state else None,
        }
    grid = (_side(len(tables[0]) - 3, "biases") + 1) // 2  # three are the class token's
    plain["image_size"] = grid * plain.pop("patch")
    return plain


def _plain(state: State, told: Mapping[str, Any], family: str) -> dict[str, Any]:
    """What all ViTs have in common: the name of the nearest, and what differs from that."""
    width, channels, patch, _ = state["patch_embed.proj.weight"].shape
    size = SIZES.get(width, "base")
    heads = told.get("heads") or _heads(width, family)
    ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
    mine = {
        "embed_dim": (width, SIZES.get(width) and width),
        "depth": (_count(state, r"blocks\.(\d+)\."), DEPTHS[size]),
        "num_heads": (heads, _heads(width, family) if width in SIZES else None),
        "patch_size": (patch, 16),
        "mlp_ratio": (ratio, 4.0),
    }
    suffix = "patch16_224" if family in ("vit", "beit") else "patch16"
    return {
        "name": f"{family}_{_there(family, size)}_{suffix}",
        "channels": channels,
        "patch": patch,
        "options": {
            name: is_
            for name, (is_, usual) in mine.items()
            if is_ != usual or _there(family, size) != size
        },
    }


def _there(family: str, size: str) -> str:
    """The nearest size that a family has a name for."""
    lacking = {"mocov3_vit": ("tiny", "large"), "beit": ("tiny", "small")}
    lacking["hf_beit"] = lacking["beit"]
    return "base" if size in lacking.get(family, ()) else size


def _heads(width: int, family: str) -> int:
    if (family, width) == ("mocov3_vit", 384):  # the authors' small one has twice as many
        return 12
    if width not in HEADS:
        raise ValueError(f"no ViT of {width} channels is known, so its heads are not")
    return HEADS[width]


def _swin(state: State, tensors: State, told: Mapping[str, Any], family: str) -> dict[str, Any]:
    width, channels, patch, _ = state["patch_embed.proj.weight"].shape
    stages = range(_count(state, r"layers\.(\d+)\."))
    depths = tuple(_count(state, rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in stages)
    blocks = [f"layers.{stage}.blocks.0" for stage in stages]
    second = f"{blocks[0]}.attn.logit_scale" in state
    counter = ".attn.logit_scale" if second else f".attn.{TABLE}"
    heads = tuple(state[block + counter].shape[0 if second else 1] for block in blocks)
    windows = _windows(state, tensors, blocks, told)
    ratio = state[f"{blocks[0]}.mlp.fc1.weight"].shape[0] / width
    size = SWINS.get((width, depths))
    options: dict[str, Any] = {}
    if size is None or heads != tuple(SWIN_HEADS[size] * 2**stage for stage in stages):
        options = {"embed_dim": width, "depths": depths, "num_heads": heads}
    options |= {"patch_size": patch} if patch != 4 else {}
    options |= {"mlp_ratio": ratio} if ratio != 4 else {}
    if second and (pretrained := _pretrained(tensors, windows)) != windows:
        options["pretrained_window_sizes"] = pretrained
    stride = patch * 2 ** (len(depths) - 1)
    return {
        "name": _swin_name(size or "base", second, family),
        "channels": channels,
        "image_size": told.get("image_size") or _image(tensors, windows, patch, stride),
        "window": windows,
        "options": options,
    }


def _swin_name(size: str, second: bool, family: str) -> str:
    if family == "mimdepth_swinv2" and second:
        return f"{family}_{'large' if size == 'large' else 'base'}"
    if not second:
        return f"swin_{size}_patch4_window7_224"
    return f"swinv2_{size}_window{'12_192' if size in ('base', 'large') else '8_256'}"


def _windows(
    state: State, tensors: State, blocks: list[str], told: Mapping[str, Any]
) -> tuple[int, ...]:
    """Patches a side of the windows of every stage, from tables of one row an offset."""
    found = []
    for number, block in enumerate(blocks):
        coordinates = _buffer(tensors, number, "relative_coords_table")
        if f"{block}.attn.{TABLE}" in state:
            found.append((_side(len(state[f"{block}.attn.{TABLE}"]), "biases") + 1) // 2)
        elif coordinates is not None:
            found.append((coordinates.shape[1] + 1) // 2)
        elif told.get("window"):
            found.append(int(told["window"]))
        else:
            raise ValueError("nothing in the file tells the window of a Swin v2: give --window")
    return tuple(found)


def _pretrained(tensors: State, windows: tuple[int, ...]) -> tuple[int, ...]:
    """The windows that a Swin v2 counts its positions in: the farthest is log2(1 + 8 x) / 3, and x
    is how many of theirs it is away."""
    found = []
    for number, window in enumerate(windows):
        table = _buffer(tensors, number, "relative_coords_table")
        if table is None or table.is_meta or window < 2:
            found.append(window)
            continue
        reach = (2 ** (3 * table.max().item()) - 1) / 8
        found.append(round((window - 1) / reach) + 1)
    return tuple(found)


def _image(tensors: State, windows: tuple[int, ...], patch: int, stride: int) -> int:
    """Pixels a side: all windows of the first stage are in the mask of its shifts; where there is
    none, the last stage is one window, as in all that the authors trained."""
    mask = next((t for name, t in tensors.items() if name.endswith("attn_mask")), None)
    if mask is not None and mask.ndim == 3:
        owner = next(name for name in tensors if name.endswith("attn_mask"))
        stage = int(re.findall(r"layers\.(\d+)\.", owner)[0])
        return _side(mask.shape[0] * mask.shape[1], "windows") * patch * 2**stage
    return windows[-1] * stride


def _buffer(tensors: State, stage: int, kind: str) -> Tensor | None:
    pattern = re.compile(rf"layers\.{stage}\.blocks\.0\..*{kind}$")
    return next((tensor for name, tensor in tensors.items() if pattern.search(name)), None)


def _count(state: State, pattern: str) -> int:
    found = [int(match[1]) for name in state if (match := re.match(pattern, name))]
    return len(set(found))


def _side(count: int, what: str) -> int:
    side = isqrt(max(count, 0))
    if side * side != count or not side:
        raise ValueError(f"{count} {what} are those of no square")
    return side
