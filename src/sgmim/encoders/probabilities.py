"""The probabilities of attention, as each kind of it makes them from the tokens it is given.

softmax(q k^T scale + bias), with all that the kind adds to it. Times the values, and projected,
they are what its own forward pass gives: tests hold every kind to that.
"""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import Attention
from timm.models import beit, swin_transformer, swin_transformer_v2
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.rotary import RotaryAttention, turned

LARGEST_SCALE = log(100)  # of SwinV2's cosines: the paper, section 3.2


def probabilities(attention: nn.Module, *words: Any, **named: Any) -> Float[Tensor, "b heads n n"]:
    """Of the keys (last), for every query.

    Args:
        attention: of a kind among LOGITS.
        words, named: what it is called with; its tokens first.
    """
    return LOGITS[type(attention)](attention, *words, **named).float().softmax(dim=-1)


# What the softmax of each kind is given; the arguments are those of its forward pass.


def _of_vit(
    attention: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    assert attn_mask is None and not is_causal, "no encoder of ours asks for these"
    q, k = _queries_and_keys(attention, x)
    return attention.scale * attention.q_norm(q) @ attention.k_norm(k).mT


def _of_rotary(attention: Any, x: Tensor, by: Tensor | None = None) -> Tensor:
    q, k = _queries_and_keys(attention, x)
    q, k = attention.q_norm(q), attention.k_norm(k)
    if by is not None:
        q, k = turned(q, by), turned(k, by)
    return attention.scale * q @ k.mT


def _of_beit(attention: Any, x: Tensor, shared_rel_pos_bias: Tensor | None = None) -> Tensor:
    q, k = _queries_and_keys(attention, x)
    logits = attention.scale * q @ k.mT
    if attention.relative_position_bias_table is not None:
        logits = logits + attention._get_rel_pos_bias()
    return logits if shared_rel_pos_bias is None else logits + shared_rel_pos_bias


def _of_swin(attention: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    q, k = _queries_and_keys(attention, x)
    return _parted(attention.scale * q @ k.mT + attention._get_rel_pos_bias(), mask)


def _of_swinv2(attention: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cosines, times a scale of each head; biases by an MLP of log-spaced distances (Liu et al.,
    2022, arXiv:2111.09883, sections 3.2 and 3.3)."""
    q, k = _queries_and_keys(attention, x)
    cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    table = attention.cpb_mlp(attention.relative_coords_table).flatten(0, -2)  # (places, heads)
    bias = 16 * table[attention.relative_position_index].sigmoid().permute(2, 0, 1)
    return _parted(attention.logit_scale.clamp(max=LARGEST_SCALE).exp() * cosines + bias, mask)


def _queries_and_keys(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    qkv = attention.qkv(x)
    if getattr(attention, "q_bias", None) is not None:  # BEiT, SwinV2: keys have none that counts
        qkv = qkv + torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    q, k, _ = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k  # (b, heads, n, d)


def _parted(logits: Float[Tensor, "bg heads n n"], mask: Tensor | None) -> Tensor:
    """With what a shifted window adds between cells that are no neighbors: -100."""
    if mask is None:
        return logits
    return (logits.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)


LOGITS: dict[type, Callable[..., Tensor]] = {
    Attention: _of_vit,
    RotaryAttention: _of_rotary,
    beit.Attention: _of_beit,
    swin_transformer.WindowAttention: _of_swin,
    swin_transformer_v2.WindowAttention: _of_swinv2,
}
