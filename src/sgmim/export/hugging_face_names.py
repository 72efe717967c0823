"""The names that transformers has for the weights of an encoder, and what it has to be told."""

import re
from typing import Any

from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sgmim.encoders import Encoder, HierarchicalEncoder

State = dict[str, Tensor]

MODELS = {
    VisionTransformer: "ViTModel",
    Beit: "BeitModel",
    SwinTransformer: "SwinModel",
    SwinTransformerV2: "Swinv2Model",
}

# Theirs -> timm's, one after the other; of ViT, BEiT, Swin and Swin v2.
RENAMED = (
    (r"^encoder\.", ""),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^embeddings\.", ""),
    (r"^layers\.(\d+)\.(?!blocks|downsample)", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_", ".gamma_"),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.self\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.(o_proj|output\.dense)\.", ".attn.proj."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
    (r"^shared_position_bias\.", "rel_pos_bias."),
    (r"\.(attention\.)?relative_position_bias\.", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def timm_name(theirs: str) -> str:
    """What timm calls a weight of theirs, with queries, keys and values apart: attn.q, .k, .v."""
    for pattern, ours in RENAMED:
        theirs = re.sub(pattern, ours, theirs)
    # timm merges patches at the start of a stage, they at the end of the one before
    return re.sub(
        r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", theirs
    )


def parted(state: State) -> State:
    """timm's weights with queries, keys and values apart. A BEiT has no bias of keys."""
    found: State = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for part, one in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace(".qkv.", f".{part}.")] = one.clone()
        elif name.endswith((".attn.q_bias", ".attn.v_bias")):
            found[re.sub(r"([qv])_bias$", r"\1.bias", name)] = tensor
        else:
            found[name] = tensor
    return found


def settings(encoder: Encoder) -> dict[str, Any]:
    """What their configuration is to say, but for the class of the model."""
    backbone: Any = encoder.backbone
    height, width = encoder.image_size
    first: Any = encoder.blocks[0]
    said: dict[str, Any] = {
        "image_size": height if height == width else [height, width],
        "patch_size": encoder.patch,
        "num_channels": encoder.channels,
        "layer_norm_eps": first.norm1.eps,
        "hidden_act": "gelu",
        "drop_path_rate": 0.0,
    }
    if isinstance(encoder, HierarchicalEncoder):
        return said | _of_swin(encoder, backbone)
    said |= {
        "hidden_size": encoder.dim,
        "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": first.attn.num_heads,
        "intermediate_size": first.mlp.fc1.out_features,
    }
    if isinstance(backbone, Beit):
        return said | _of_beit(backbone)
    # pooler_output is the class token as it is: see hugging_face_folder
    return said | {"qkv_bias": first.attn.qkv.bias is not None, "pooler_act": "linear"}


def _of_beit(backbone: Any) -> dict[str, Any]:
    first = backbone.blocks[0]
    return {
        "use_absolute_position_embeddings": backbone.pos_embed is not None,
        "use_shared_relative_position_bias": backbone.rel_pos_bias is not None,
        "use_relative_position_bias": first.attn.relative_position_bias_table is not None,
        "layer_scale_init_value": 0.0 if first.gamma_1 is None else 1.0,
        "use_mean_pooling": False,  # else they leave out the final norm
    }


def _of_swin(encoder: HierarchicalEncoder, backbone: Any) -> dict[str, Any]:
    stages = list(backbone.layers)
    window = max(side for pair in encoder.windows for side in pair)
    said: dict[str, Any] = {
        "embed_dim": encoder.patch_dim,
        "depths": [len(stage.blocks) for stage in stages],
        "num_heads": [stage.blocks[0].attn.num_heads for stage in stages],
        "window_size": window,
        "mlp_ratio": float(stages[0].blocks[0].mlp.fc1.out_features / encoder.patch_dim),
        "encoder_stride": encoder.stride,
    }
    if not isinstance(backbone, SwinTransformerV2):
        return said | {"qkv_bias": stages[0].blocks[0].attn.qkv.bias is not None}
    counted = [stage.blocks[0].attn.pretrained_window_size for stage in stages]
    own = [stage.blocks[0].window_size for stage in stages]
    # for images of another size, positions are counted in the windows of this one; of 1 they cannot
    before = [a[0] or (b[0] if b[0] > 1 else 0) for a, b in zip(counted, own, strict=True)]
    has_bias = stages[0].blocks[0].attn.q_bias is not None
    return said | {"pretrained_window_sizes": before, "qkv_bias": has_bias}
