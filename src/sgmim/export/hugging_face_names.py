"""What transformers calls the weights of an encoder, and what it has to be told to build it.

Its names are those that an import reads (encoders/layouts/hugging_face.py), looked up the other
way round: for each weight of its model, what timm calls it.
"""

import re
from typing import Any

from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sgmim.encoders import Encoder, HierarchicalEncoder
from sgmim.encoders.layouts.hugging_face import COMMON

State = dict[str, Tensor]

MODELS = {
    VisionTransformer: "ViTModel",
    Beit: "BeitModel",
    SwinTransformer: "SwinModel",
    SwinTransformerV2: "Swinv2Model",
}


def timm_name(theirs: str) -> str:
    """What timm calls a weight of theirs, with queries, keys and values apart: as an import does
    before it joins them."""
    for pattern, ours in COMMON:
        theirs = re.sub(pattern, ours, theirs)
    return theirs


def parted(state: State) -> State:
    """timm's weights with queries, keys and values apart: the inverse of what an import joins.
    BEiT and Swin v2 have no bias of keys."""
    found: State = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for part, one in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace(".qkv.", f".{part}.")] = one.clone()
        else:
            name = re.sub(r"\.q_bias$", ".query.bias", name)
            found[re.sub(r"\.v_bias$", ".value.bias", name)] = tensor
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
