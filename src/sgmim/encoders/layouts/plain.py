"""Plain ViTs whose names are timm's already, but for what surrounds them.

Of github.com: MAE, facebookresearch/mae; MoCo v3, facebookresearch/moco-v3; DINO,
facebookresearch/dino; MultiMAE, EPFL-VILAB/MultiMAE; CroCo, naver/croco.
"""

from math import isqrt

import torch

from sgmim.encoders.layouts.layout import Layout, State
from sgmim.layers import sincos

VIT = (r"cls_token", r"patch_embed\.proj\.", r"blocks\.0\.attn\.qkv\.")
HEADS = {r"head(_dist)?\.": "classifier"}
NON_COMMERCIAL = "CC BY-NC 4.0"


def has_fixed_positions(state: State, *, rows_first: bool = False) -> bool:
    """Whether positions are sines and cosines, and the class token has none: where a ViT is not
    told from another by its names, this tells MAE's, and MoCo v3's with rows first."""
    table = state["pos_embed"]
    if table.is_meta or not table.is_floating_point() or table.ndim != 3 or table.shape[2] % 4:
        return False
    side = isqrt(max(table.shape[1] - 1, 0))
    if side * side + 1 != table.shape[1] or not side:
        return False
    fixed = sincos((side, side), table.shape[2], rows_first=rows_first).to(table)
    return torch.allclose(table[0, 1:], fixed, atol=1e-5) and not table[0, 0].any()


def with_positions_of_a_grid(state: State) -> State:
    """MultiMAE keeps positions as a map, and none of its global token."""
    table = state.get("pos_embed")
    if table is None or table.ndim != 4:
        return state
    tokens = table.flatten(2).transpose(1, 2)  # (1, n, d)
    return state | {"pos_embed": torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)}


def with_positions_of_one_image(state: State) -> State:
    """CroCo keeps positions without the dimension of the batch."""
    table = state.get("pos_embed")
    return state if table is None or table.ndim != 2 else state | {"pos_embed": table[None]}


MAE = Layout(
    "MAE",
    license=NON_COMMERCIAL,
    signs=(*VIT, r"decoder_embed\.", r"decoder_blocks\."),
    parts={r"decoder_": "decoder", r"mask_token$": "mask token"},
    family="mae_vit",
)

MAE_ENCODER = Layout(
    "MAE, encoder only",
    license=NON_COMMERCIAL,
    signs=(*VIT, r"pos_embed"),
    not_signs=(r".*gamma_1",),
    parts=HEADS | {r"mask_token$": "mask token"},
    names=((r"^fc_norm\.", "norm."),),
    is_it=has_fixed_positions,
    family="mae_vit",
)

MOCO = Layout(
    "MoCo v3",
    license=NON_COMMERCIAL,
    signs=(r"base_encoder\.blocks\.0\.", r"momentum_encoder\."),
    prefix=r"base_encoder\.",
    parts={
        r"base_encoder\.head\.": "projector",
        r"momentum_encoder\.": "momentum encoder",
        r"predictor\.": "predictor",
    },
    family="mocov3_vit",
)

MOCO_ENCODER = Layout(
    "MoCo v3, encoder only",
    license=NON_COMMERCIAL,
    signs=(*VIT, r"pos_embed"),
    parts=HEADS,
    is_it=lambda state: has_fixed_positions(state, rows_first=True),
    family="mocov3_vit",
)

DINO = Layout(
    "DINO",
    license="Apache-2.0",
    signs=(r"backbone\.cls_token", r"backbone\.blocks\.0\.", r"head\."),
    prefix=r"backbone\.",
    parts={r"head\.": "projector"},
)

MULTIMAE = Layout(
    "MultiMAE",
    license=NON_COMMERCIAL,
    signs=(r"global_tokens", r"input_adapters\.rgb\.", r"encoder\.0\."),
    prefix=r"encoder\.|input_adapters\.rgb\.|(?=global_tokens)",
    parts={
        r"input_adapters\.(?!rgb\.)": "embeddings of other maps",
        r"output_adapters\.": "decoders",
    },
    names=(
        (r"^(?=\d)", "blocks."),
        (r"^global_tokens$", "cls_token"),  # a place among tokens is nothing to attention
        (r"^pos_emb$", "pos_embed"),
        (r"^proj\.", "patch_embed.proj."),
    ),
    finish=with_positions_of_a_grid,
    family="multimae_vit",
)

MULTIMAE_TIMM = Layout(
    "MultiMAE, in timm's names",
    license=NON_COMMERCIAL,
    signs=VIT,
    not_signs=(r"norm\.", r"fc_norm\.", r"norm_pre\.", r".*(gamma_1|ls1|q_bias)", r"decoder"),
    parts=HEADS,
    finish=with_positions_of_a_grid,
    family="multimae_vit",
)

CROCO = Layout(
    "CroCo",
    license="CC BY-NC-SA 4.0",
    signs=(r"patch_embed\.proj\.", r"enc_blocks\.0\.", r"enc_norm\."),
    parts={
        r"dec(oder)?_": "decoder",
        r"mask_token$": "mask token",
        r"prediction_head\.": "prediction head",
        r"(head|downstream_head)\.": "head of the task",
    },
    names=((r"^enc_pos_embed$", "pos_embed"), (r"^enc_(?=blocks|norm)", "")),
    finish=with_positions_of_one_image,
    family="croco_vit",
)
