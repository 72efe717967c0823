"""Checkpoints of others: whose they are, told from the names of their tensors; see docs/weights.md.

One file a family, one Layout a source.
"""

from sgmim.encoders.layouts import hugging_face, openmmlab, plain, simmim
from sgmim.encoders.layouts.layout import INDICES, Converted, Layout, State

__all__ = ["LAYOUTS", "TIMM", "Converted", "Layout", "State", "recognized"]

RUN = Layout(
    "a run of sgmim",
    license="",
    signs=(r"encoder\.backbone\.patch_embed\.",),
    prefix=r"encoder\.backbone\.",
    parts={r"(?!encoder\.)": "what is the method's own"},
    normalization="",
)

TIMM = Layout(
    "timm",
    license="",
    signs=(r"patch_embed\.proj\.", r"(layers\.0\.)?blocks\.0\."),
    parts=INDICES
    | {r"head(_dist)?\.": "classifier", r"mask_token$": "mask token", r"attn_pool\.": "pooling"},
    names=((r"^fc_norm\.", "norm."),),
    normalization="",
)

# The first that fits is taken: those that ask for more come before those that ask for less.
LAYOUTS = (
    RUN,
    simmim.SGMIM,
    simmim.MIM_DEPTH,
    simmim.SIMMIM,
    openmmlab.OPENMMLAB,
    hugging_face.VIT_MAE,
    hugging_face.VIT_PAINTS,
    hugging_face.SWIN_PAINTS,
    hugging_face.SWIN,
    hugging_face.BEIT,
    hugging_face.VIT,
    plain.MOCO,
    plain.DINO,
    plain.MULTIMAE,
    plain.CROCO,
    plain.MAE,
    simmim.SWIN,
    simmim.BEIT,
    plain.MULTIMAE_TIMM,
    plain.MAE_ENCODER,
    plain.MOCO_ENCODER,
    TIMM,
)


def recognized(state: State) -> Layout | None:
    """Whose checkpoint this is, by the names of its tensors; None where nobody's."""
    return next((layout for layout in LAYOUTS if layout.fits(state)), None)
