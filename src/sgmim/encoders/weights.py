"""Weights of others, in timm's names; weights into an encoder, with an account of what fitted."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from timm.models import beit, swin_transformer
from torch import Tensor

from sgmim.encoders import hugging_face, resizing
from sgmim.encoders.base import Encoder
from sgmim.errors import DataError, listed

State = dict[str, Tensor]
TABLE = "relative_position_bias_table"


@dataclass
class LoadingReport:
    """What became of the tensors of a checkpoint, and of the parameters of an encoder."""

    source: str
    loaded: list[str]
    resized: list[str]  # loaded, after a change of grid or window
    missing: list[str]  # in the encoder, not in the checkpoint
    dropped: list[str]  # in the checkpoint, not in the encoder
    misshapen: list[str] = field(default_factory=list)  # in both, of different shape
    share: float = 0.0  # of the encoder's parameters that were loaded

    def __str__(self) -> str:
        parts = [f"{self.source}: {len(self.loaded)} tensors, {self.share:.1%} of the parameters"]
        for word in ("resized", "missing", "dropped", "misshapen"):
            if tensors := getattr(self, word):
                parts.append(f"{len(tensors)} {word} ({listed(tensors, most=3)})")
        return "; ".join(parts)


def load_into(
    encoder: Encoder,
    state: dict[Any, Any],
    *,
    at_least: float = 0.95,
    saved: Encoder | None = None,
) -> LoadingReport:
    """Load a checkpoint, in any layout that is known, into an encoder.

    Position tables are resized to the encoder's grid and windows from those of `saved`, which the
    weights are of; where that is not known, they are taken for square. The encoder is left as it
    was where too little fits.

    Raises:
        DataError: less than `at_least` of the encoder's parameters, or of its tensors (a Swin v2
            has nearly all parameters of a Swin v1, and is another network), would be loaded.
    """
    source, state = convert(state)
    old = state = _given_to_blocks(state, encoder.backbone.state_dict())
    try:
        state = _resized(encoder, state, saved)
    except Exception as error:  # of tables that are none, in any way
        raise DataError(
            f"these weights do not fit {encoder.name}: a table of positions cannot be resized: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error
    own = encoder.backbone.state_dict()
    fitting = {n: t for n, t in state.items() if n in own and _fits(t, own[n])}
    if bad := [n for n, t in fitting.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise DataError(f"these weights are not finite, in {listed(bad, most=3)}: of a failed run?")
    sizes = {name: parameter.numel() for name, parameter in encoder.backbone.named_parameters()}
    report = LoadingReport(
        source,
        loaded=sorted(fitting),
        resized=sorted(name for name in fitting if old[name] is not fitting[name]),
        missing=sorted(set(own) - set(state)),
        dropped=sorted(set(state) - set(own)),
        misshapen=sorted(set(state) & set(own) - set(fitting)),
        share=sum(sizes.get(name, 0) for name in fitting) / sum(sizes.values()),
    )
    if min(report.share, len(fitting) / len(own)) < at_least:
        raise DataError(
            f"these weights do not fit {encoder.name}: {report}; at least {at_least:.0%} of the "
            f"parameters and of the {len(own)} tensors are asked for. Is it the right backbone, "
            "and the right size of it?"
        )
    encoder.backbone.load_state_dict(fitting, strict=False)
    return report


def convert(state: dict[Any, Any]) -> tuple[str, State]:
    """Recognize a checkpoint by its keys: the name of its layout, and its encoder in timm's names.

    Wrappers ("model", "state_dict", DDP's "module.") are looked through.
    """
    for wrapper in ("model", "state_dict", "model_state_dict"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    state = {n.removeprefix("module."): t for n, t in state.items() if _is_plain(n, t)}
    for layout, (marks, rename) in LAYOUTS.items():
        if all(any(name.startswith(mark) for name in state) for mark in marks):
            return layout, rename(state)
    return "timm", state


def _is_plain(name: Any, tensor: Any) -> bool:
    """Whether this is a weight under its name: no settings, and nothing sparse or larger than
    what there is of it."""
    if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.is_quantized:
        return False
    if tensor.layout != torch.strided:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _fits(tensor: Tensor, own: Tensor) -> bool:
    if tensor.is_meta:  # a shape without numbers
        return False
    return tensor.shape == own.shape and tensor.is_floating_point() == own.is_floating_point()


def _simmim(state: State) -> State:
    """SimMIM and what descends from it: the encoder under "encoder.", of ViT or Swin."""
    encoder = {n.removeprefix("encoder."): t for n, t in state.items() if n.startswith("encoder.")}
    unneeded = ("relative_position_index", "attn_mask", "relative_coords_table", "mask_token")
    encoder = {n: t for n, t in encoder.items() if not n.endswith(unneeded)}
    # SG-MIM's first commit keeps a second patch embedding there, which it never uses
    encoder = {n: t for n, t in encoder.items() if not n.startswith("depth_patch_embed.")}
    return {_swin_name(name): tensor for name, tensor in encoder.items()}


def _swin_name(name: str) -> str:
    """timm merges patches at the start of a stage, the authors at the end of the one before."""
    name = re.sub(
        r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name
    )
    name = re.sub(r"^norm3\.", "norm.", name)  # MIM-Depth-Estimation names it for its stage
    return name.replace(".rpe_mlp.", ".cpb_mlp.")


# layout: what its keys begin with, and how to read it. The first that fits is taken.
LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[State], State]]] = {
    "SG-MIM": (("encoder.", "depth_encoder.", "fusion_blk_img."), _simmim),
    "MIM-Depth-Estimation": (("encoder.", "last_layer_depth."), _simmim),
    "SimMIM": (("encoder.", "decoder."), _simmim),
    "Hugging Face ViT": (("vit.embeddings.",), hugging_face.to_timm),
    "Hugging Face Swin": (("swin.embeddings.",), hugging_face.to_timm),
}


def _resized(encoder: Encoder, state: State, saved: Encoder | None) -> State:
    """The same weights with position tables for this encoder's grid and windows."""
    backbone, own = encoder.backbone, encoder.backbone.state_dict()
    resized: State = {}
    for name in [name for name in state if name.endswith(TABLE) and name in own]:
        window, source = _window(encoder, name), _window(saved, name) if saved else None
        if state[name].shape != own[name].shape or source not in (None, window):
            resized[name] = resizing.relative_biases(
                state[name], window, count=len(own[name]), source=source
            )
    if "pos_embed" in state and "pos_embed" in own:
        grid, source = encoder.grid, saved.grid if saved else None
        if state["pos_embed"].shape != own["pos_embed"].shape or source not in (None, grid):
            prefix = own["pos_embed"].shape[1] - prod(grid)
            resized["pos_embed"] = resizing.positions(
                state["pos_embed"], grid, prefix=prefix, source=source
            )
    state = state | resized
    other = {n: t for n, t in state.items() if n in own and t.shape != own[n].shape}
    if isinstance(backbone, beit.Beit):
        other = beit.checkpoint_filter_fn(other, backbone)
    elif isinstance(backbone, swin_transformer.SwinTransformer):
        other = swin_transformer.checkpoint_filter_fn(other, backbone)
    return state | other


def _window(encoder: Encoder, table: str) -> tuple[int, int]:
    """The window, patches down and across, that a table of biases is for."""
    attention: Any = encoder.backbone.get_submodule(table.removesuffix(f".{TABLE}"))
    down, across = attention.window_size
    return down, across


def _given_to_blocks(state: State, own: State) -> State:
    """A table of biases that all blocks share, for every block that is to have its own; as SimMIM
    fine-tunes."""
    shared = f"rel_pos_bias.{TABLE}"
    blocks = [name for name in own if name.endswith(f".attn.{TABLE}") and name not in state]
    if shared not in state or shared in own or not blocks:
        return state
    rest = {name: tensor for name, tensor in state.items() if name != shared}
    return rest | dict.fromkeys(blocks, state[shared])
