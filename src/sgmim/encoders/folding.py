"""A BEiT-like ViT, as SimMIM's, in a plain one: what can be folded is, the rest is lost.

Layer scales go into the layers before them and the biases of queries and values into one of all
three, both exactly. Biases by relative position have no place in a plain ViT, and its absolute
positions become zero: it no longer computes what it did.
"""

import torch
from timm.models.vision_transformer import VisionTransformer

from sgmim.encoders.base import Encoder
from sgmim.encoders.layouts import State

SCALED = {"gamma_1": "attn.proj", "gamma_2": "mlp.fc2"}


def is_lossy(state: State, encoder: Encoder) -> bool:
    """Whether the weights have biases by relative position, and the encoder is a plain ViT."""
    plain = isinstance(encoder.backbone, VisionTransformer)
    return plain and any(name.endswith("relative_position_bias_table") for name in state)


def folded(state: State, encoder: Encoder) -> tuple[State, list[str]]:
    """The weights for a plain ViT, and the names of those that are lost."""
    lost = [name for name in state if "relative_position_bias_table" in name]
    state = {name: tensor for name, tensor in state.items() if name not in lost}
    for name in [name for name in state if name.rpartition(".")[2] in SCALED]:
        block, _, gamma = name.rpartition(".")
        scale = state.pop(name)
        for kind in ("weight", "bias"):
            layer = f"{block}.{SCALED[gamma]}.{kind}"
            if layer in state:
                rows = scale if kind == "bias" else scale[:, None]  # each of them is an output
                state[layer] = state[layer] * rows
    for query in [name for name in state if name.endswith(".q_bias")]:
        value = query.replace("q_bias", "v_bias")
        q, v = state.pop(query), state.pop(value)
        state[query.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    own = encoder.backbone.state_dict()
    if "pos_embed" in own and "pos_embed" not in state:
        state["pos_embed"] = torch.zeros_like(own["pos_embed"])
    return state, lost
