"""Hugging Face's ViT and Swin in timm's names: KAMIM's checkpoints, and those of its hub."""

import re

import torch
from torch import Tensor

State = dict[str, Tensor]

# Theirs -> timm's, one after the other. transformers 5 has names of its own; both are read.
RENAMED = (
    (r"^(vit|swin)\.(encoder\.)?", ""),
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^layers?\.(\d+)\.(?!blocks|downsample)", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(attention|self)\.(query|key|value)\.", r".attn.\2."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(self|relative_position_bias)\.(relative_position_bias_table)", r".attn.\2"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
UNNEEDED = ("mask_token", "relative_position_index")


def to_timm(state: State) -> State:
    """The encoder of a model of theirs, in timm's names; heads stay behind."""
    own = {n: t for n, t in state.items() if n.startswith(("vit.", "swin."))}
    renamed = {_name(n): t for n, t in own.items() if not n.endswith(UNNEEDED)}
    return _joined(renamed)


def _name(name: str) -> str:
    for theirs, ours in RENAMED:
        name = re.sub(theirs, ours, name)
    # timm merges patches at the start of a stage, they at the end of the one before
    return re.sub(
        r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name
    )


def _joined(state: State) -> State:
    """With queries, keys and values in one tensor each, where all three are there and alike."""
    for name in [n for n in state if ".attn.query." in n]:
        names = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        three = [state[part] for part in names if part in state]
        kinds = {(tensor.shape, tensor.dtype, tensor.device) for tensor in three}
        if len(three) == 3 and len(kinds) == 1 and three[0].ndim:
            state[name.replace(".query.", ".qkv.")] = torch.cat(three)
            for part in names:
                del state[part]
    return state
