"""transformers' ViT, ViTMAE, BEiT, Swin and Swin v2, by the names of version 4 and of version 5.

KAMIM's checkpoints are of its ViT and Swin, as are those of DINO and SimMIM on the hub.
"""

import torch

from sgmim.encoders.layouts.layout import INDICES, MERGING, Layout, State

# Theirs -> timm's. Version 5 has names of its own.
COMMON = (
    (r"^(encoder\.relative|shared)_position_bias\.", "rel_pos_bias."),
    (r"^(encoder\.)?layers?\.(?=\d+\.(?!blocks|downsample))", "blocks."),
    (r"^encoder\.(?=layers\.)", ""),
    MERGING,
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"\.attention\.(attention|self)\.", ".attention."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(query|q_proj)\.", ".attn.query."),
    (r"\.attention\.(key|k_proj)\.", ".attn.key."),
    (r"\.attention\.(value|v_proj)\.", ".attn.value."),
    (r"\.attention\.(?=relative_position_bias_table|logit_scale)", ".attn."),
    (r"\.(attention\.)?relative_position_bias\.(?=relative_position_bias_table)", ".attn."),
    (r"\.attention\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(?<!attention)\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_([12])$", r".gamma_\1"),
    (r"^(pooler\.)?layernorm\.", "norm."),
)
REST = INDICES | {
    r"(.*\.)?mask_token$": "mask token",
    r"classifier\.": "classifier",
    r"(.*\.)?pooler\.dense\.": "pooling",
    r"(decode|auxiliary)_head\.": "decoder",
}


def joined(state: State) -> State:
    """With queries, keys and values in one tensor each, where all three are there and alike."""
    for query in [name for name in state if ".attn.query." in name]:
        names = [query.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        three = [state[name] for name in names if name in state]
        kinds = {(tensor.shape, tensor.dtype, tensor.device) for tensor in three}
        if len(three) == 3 and len(kinds) == 1 and three[0].ndim:
            state = {name: tensor for name, tensor in state.items() if name not in names}
            state[query.replace(".query.", ".qkv.")] = torch.cat(three)
        elif query.endswith(".bias") and names[1] not in state:  # keys have none
            state = {_apart(name): tensor for name, tensor in state.items()}
    return state


def _apart(name: str) -> str:
    """timm keeps biases of queries and values apart where keys have none."""
    return name.replace(".query.bias", ".q_bias").replace(".value.bias", ".v_bias")


def _layout(source: str, license: str, signs: tuple[str, ...], prefix: str, **other) -> Layout:  # type: ignore[no-untyped-def]
    parts = REST | other.pop("parts", {})
    return Layout(source, license, signs, prefix=prefix, parts=parts, names=COMMON, finish=joined,
                  **other)  # fmt: skip


PATCHES, BLOCK = r"embeddings\.patch_embeddings\.projection\.", r"layers?\.0\.layernorm_before\."
STAGE = r"encoder\.layers\.0\.blocks\.0\.layernorm_before\."
KAMIM = "unknown: SimMIM's is MIT, KAMIM's repository has none"

VIT_MAE = _layout(
    "transformers' ViTMAE", "CC BY-NC 4.0", (rf"vit\.{PATCHES}", r"decoder\.decoder_"), r"vit\.",
    parts={r"decoder\.": "decoder"}, family="kamim_vit",
)  # fmt: skip
VIT_PAINTS = _layout(
    "transformers' SimMIM of a ViT, or KAMIM", "unknown: KAMIM's repository has none",
    (rf"vit\.{PATCHES}", r"decoder\.0\."), r"vit\.",
    parts={r"decoder\.0\.": "decoder"}, family="kamim_vit",
)  # fmt: skip
VIT = _layout(
    "transformers' ViT", "", (rf"(vit\.)?{PATCHES}", rf"(vit\.)?(encoder\.)?{BLOCK}"),
    r"(vit\.)?(?=embeddings\.|encoder\.|layers\.|layernorm\.)",
    not_signs=(r".*lambda_1$",), normalization="", family="kamim_vit",
)  # fmt: skip
BEIT = _layout(
    "transformers' BEiT", "MIT",
    (rf"(beit\.)?{PATCHES}", rf"(beit\.)?(encoder\.)?{BLOCK}", r".*lambda_1$"),
    r"(beit\.)?(?=embeddings|encoder|layers|layernorm|pooler\.layernorm|shared_position_bias)",
    parts={r"lm_head\.": "decoder"}, normalization="half", family="kamim_beit",
)  # fmt: skip
SWIN_PAINTS = _layout(
    "transformers' SimMIM of a Swin, or KAMIM", KAMIM,
    (rf"swin(v2)?\.{PATCHES}", rf"swin(v2)?\.{STAGE}", r"decoder\.0\."), r"swin(v2)?\.",
    parts={r"decoder\.0\.": "decoder"},
)  # fmt: skip
SWIN = _layout(
    "transformers' Swin", "MIT",
    (rf"(swin(v2)?\.)?{PATCHES}", rf"(swin(v2)?\.)?{STAGE}"),
    r"(swin(v2)?\.)?(?=embeddings\.|encoder\.|layernorm\.)",
)  # fmt: skip
