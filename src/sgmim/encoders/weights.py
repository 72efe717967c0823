"""Weights of others into an encoder, with an account of every tensor and every parameter."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from sgmim.encoders import folding, resizing
from sgmim.encoders.base import Encoder
from sgmim.encoders.checkpoints import tensors_of
from sgmim.encoders.layouts import TIMM, Converted, Layout, State, recognized
from sgmim.encoders.loading import LoadingReport
from sgmim.encoders.strangers import looks_like
from sgmim.errors import DataError, listed

TABLE = "relative_position_bias_table"
ENOUGH = 0.95  # of the parameters, and of the tensors; who asks for less, asks for a part


def load_into(
    encoder: Encoder,
    state: dict[Any, Any],
    *,
    at_least: float = ENOUGH,
    saved: Encoder | None = None,
    layout: Layout | None = None,
    allow_lossy: bool = False,
    student: bool = False,
) -> LoadingReport:
    """Load a checkpoint, in any layout that is known, into an encoder.

    Position tables are resized to the encoder's grid and windows from those of `saved`, which the
    weights are of; where that is not known, they are taken for square. The encoder is left as it
    was where too little fits.

    Args:
        encoder: that is to have them.
        state: what the file holds; its settings are passed over.
        at_least: share of the encoder's parameters, and of its tensors, that must be loaded.
        saved: the encoder that the weights are of, if that is known.
        layout: whose they are, if that is known.
        allow_lossy: fold a ViT with relative positions into a plain one, which loses these.
        student: take DINO's student, not its teacher.

    Raises:
        DataError: less than `at_least` of the encoder's parameters, or of its tensors (a Swin v2
            has nearly all parameters of a Swin v1, and is another network), would be loaded. Or,
            where not a part was asked for, a tensor of the checkpoint is of no known part of its
            source, or of another shape than the encoder's. Or weights are not finite.
    """
    if layout is None and encoder.backbone.state_dict().keys() & tensors_of(state).keys():
        layout = recognized(tensors_of(state)) or TIMM  # a part of it, as of a file that is torn
    converted = convert(state, layout=layout, student=student)
    if folding.is_lossy(converted.state, encoder):
        _check_lossy(converted, encoder, allow_lossy)
        converted.state, lost = folding.folded(converted.state, encoder)
        converted.dropped |= dict.fromkeys(lost, "relative positions, which are lost")
    own = encoder.backbone.state_dict()
    given = _given_to_blocks(converted.state, own)
    new = _resized_or_refused(encoder, given, saved)
    fitting = {n: t for n, t in new.items() if n in own and _fits(t, own[n])}
    if bad := [n for n, t in fitting.items() if not _is_finite(t, own[n])]:
        raise DataError(f"these weights are not finite, in {listed(bad, most=3)}: of a failed run?")
    report = _report(encoder, converted, new, fitting)
    report.resized = sorted(name for name in fitting if given.get(name) is not fitting[name])
    _check(report, encoder, at_least)
    encoder.backbone.load_state_dict(fitting, strict=False)
    return report


def convert(
    state: dict[Any, Any], *, layout: Layout | None = None, student: bool = False
) -> Converted:
    """Recognize a checkpoint by its keys, and read its encoder in timm's names.

    Wrappers ("model", "state_dict", DDP's "module.") are looked through; where a teacher and a
    student are there, the teacher is taken, or the student.

    Raises:
        DataError: it is nobody's that is known here; the message says what it looks like.
    """
    state, whole = tensors_of(state, student=student), state
    layout = layout or recognized(state)
    if layout is None:
        names = state or [key for key in whole if not isinstance(key, int)]
        raise DataError(
            f"these weights do not fit any encoder: they look like {looks_like(names)}"
            + (f", with names as {listed(list(state), most=3)}" if state else "")
            + "; docs/weights.md lists the sources that are known"
        )
    return layout.convert(state)


def _fits(tensor: Tensor, own: Tensor) -> bool:
    if tensor.is_meta and not own.is_meta:  # a shape without numbers
        return False
    return tensor.shape == own.shape and tensor.is_floating_point() == own.is_floating_point()


def _is_finite(tensor: Tensor, own: Tensor) -> bool:
    """Also once it is of the encoder's precision."""
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    return bool(tensor.to(own.dtype).isfinite().all())


def _check_lossy(converted: Converted, encoder: Encoder, allowed: bool) -> None:
    if not allowed:
        raise DataError(
            f"these weights do not fit {encoder.name} without a loss: {converted.source} has "
            "biases by relative position, for which a plain ViT has no place. Take an encoder "
            "that has them, as simmim_vit_base_patch16, or give them up by --allow-lossy"
        )


def _report(encoder: Encoder, converted: Converted, new: State, fitting: State) -> LoadingReport:
    own = encoder.backbone.state_dict()
    sizes = {name: parameter.numel() for name, parameter in encoder.backbone.named_parameters()}
    dropped, unexplained = dict(converted.dropped), list(converted.unexplained)
    for name in sorted(new.keys() - own.keys()):
        if name.startswith("norm.") and not any(n.startswith("norm.") for n in own):
            dropped[name] = "final norm, which this encoder has none of"
        else:
            unexplained.append(name)
    return LoadingReport(
        converted.source,
        loaded=sorted(fitting),
        resized=[],
        missing=sorted(own.keys() - new.keys()),
        renamed=[name for name in converted.renamed if name in fitting],
        dropped=dropped,
        unexplained=unexplained,
        misshapen=sorted(new.keys() & own.keys() - fitting.keys()),
        share=sum(sizes.get(name, 0) for name in fitting) / sum(sizes.values()),
        tensors=converted.kept + len(converted.dropped) + len(converted.unexplained),
        kept=converted.kept,
        license=converted.layout.license,
        normalization=converted.layout.normalization,
    )


def _check(report: LoadingReport, encoder: Encoder, at_least: float) -> None:
    count = len(encoder.backbone.state_dict())
    if min(report.share, len(report.loaded) / count) < at_least:
        raise DataError(
            f"these weights do not fit {encoder.name}: {report}; at least {at_least:.0%} of the "
            f"parameters and of the {count} tensors are asked for. Is it the right backbone, "
            "and the right size of it?"
        )
    if at_least < ENOUGH:
        return
    if report.unexplained:
        raise DataError(
            f"these weights do not fit {encoder.name}: {len(report.unexplained)} tensors are of "
            f"no part of {report.source} that is known ({listed(report.unexplained, most=3)}); "
            f"they look like {_mixed(report.unexplained)}"
        )
    if report.misshapen:
        raise DataError(
            f"these weights do not fit {encoder.name}: {len(report.misshapen)} tensors are of "
            f"another shape ({listed(report.misshapen, most=3)})"
        )


def _mixed(names: list[str]) -> str:
    """What names look like that are left over."""
    other = recognized(dict.fromkeys(names, torch.empty(0)))
    return f"those of {other.source}" if other and other is not TIMM else looks_like(names)


def _resized_or_refused(encoder: Encoder, state: State, saved: Encoder | None) -> State:
    try:
        return _resized(encoder, state, saved)
    except Exception as error:  # of tables that are none, in any way
        raise DataError(
            f"these weights do not fit {encoder.name}: a table of positions cannot be resized: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error


def _resized(encoder: Encoder, state: State, saved: Encoder | None) -> State:
    """The same weights with position tables for this encoder's grid and windows."""
    own = encoder.backbone.state_dict()
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
    return state | resized


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
