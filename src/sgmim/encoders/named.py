"""The ViTs of the papers under names of their own: timm's, but for options and how they begin."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import timm
from timm.layers import LayerNorm
from timm.models import register_model
from torch import nn

from sgmim.errors import ConfigurationError


@dataclass(frozen=True)
class Named:
    """A backbone of a paper."""

    base: str  # timm's name of it
    options: dict[str, Any]  # beyond those
    begin: Callable[[Any], None]  # gives it the weights that the authors begin with


def init_simmim(vit: Any) -> None:
    """SimMIM's initial weights: every normal cut off at one deviation, where timm cuts at a
    hundred; the last layers of a block scaled down with its depth."""
    for module in vit.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(vit.cls_token, std=0.02, a=-0.02, b=0.02)
    vit.fix_init_weight()


def init_kamim(vit: Any) -> None:
    """Hugging Face's initial weights: all of deviation 0.02, where timm leaves the patches as torch
    has them and begins with a class token near zero."""
    for weight in (vit.patch_embed.proj.weight, vit.pos_embed, vit.cls_token):
        nn.init.trunc_normal_(weight, std=0.02)
    nn.init.zeros_(vit.patch_embed.proj.bias)


def init_mae(vit: Any) -> None:
    """MAE's initial weights, also CroCo's: all linear layers after Xavier, patches as a linear
    layer of their pixels."""
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(vit.patch_embed.proj.weight.flatten(1))
    if vit.cls_token is not None:
        nn.init.normal_(vit.cls_token, std=0.02)


def init_moco(vit: Any) -> None:
    """MoCo v3's initial weights, also MultiMAE's but for the class token: after Xavier, queries,
    keys and values each as a layer of its own."""
    init_mae(vit)
    for name, module in vit.blocks.named_modules():
        if name.endswith("qkv"):
            rows, columns = module.weight.shape
            bound = sqrt(6 / (rows / 3 + columns))
            nn.init.uniform_(module.weight, -bound, bound)
    if vit.cls_token is not None:
        nn.init.normal_(vit.cls_token, std=1e-6)


# SimMIM's ViT is no plain ViT: one relative position bias shared by all blocks, no absolute
# positions, layer scale 0.1 (SimMIM, models/vision_transformer.py). timm has it as a BEiT.
SIMMIM_VIT = {
    "use_abs_pos_emb": False,
    "use_rel_pos_bias": False,
    "use_shared_rel_pos_bias": True,
    "init_values": 0.1,
}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 192, "num_heads": 3},
    "small": {"embed_dim": 384, "num_heads": 6},
    "base": {},
    "large": {"embed_dim": 1024, "num_heads": 16, "depth": 24},
}
NO_CLASS = {"class_token": False, "global_pool": ""}
PLAIN = {size: f"vit_{size}_patch16_224" for size in SIZES}  # timm's
NAMED = {
    f"simmim_vit_{size}_patch16": Named("beit_base_patch16_224", SIMMIM_VIT | shape, init_simmim)
    for size, shape in SIZES.items()
}
for _size, _plain in PLAIN.items():
    NAMED |= {
        f"mae_vit_{_size}_patch16": Named(_plain, {}, init_mae),
        f"croco_vit_{_size}_patch16": Named(_plain, NO_CLASS, init_mae),
        # MultiMAE has no norm at the end
        f"multimae_vit_{_size}_patch16": Named(_plain, {"final_norm": False}, init_moco),
    }
NAMED |= {
    "mocov3_vit_small_patch16": Named(PLAIN["small"], {"num_heads": 12}, init_moco),
    "mocov3_vit_base_patch16": Named(PLAIN["base"], {}, init_moco),
}

# Hugging Face's norms, so KAMIM's, and MIM-Depth-Estimation's have an eps of their own: no number
# that a file could keep. timm is to rebuild them from name and options, as others.


@dataclass(frozen=True)
class Normed:
    """A backbone of timm's but for the eps of its norms, known to timm by a name of its own."""

    base: str  # timm's name of it
    eps: float
    begin: Callable[[Any], None] = lambda model: None  # gives it the weights to begin with


NORMED = {f"kamim_vit_{size}_patch16": Normed(PLAIN[size], 1e-12, init_kamim) for size in SIZES}
for _size in ("base", "large"):
    NORMED |= {
        f"hf_beit_{_size}_patch16": Normed(f"beit_{_size}_patch16_224", 1e-12),
        f"mimdepth_swinv2_{_size}": Normed(f"swinv2_{_size}_window12_192", 1e-6),
    }


def _register(name: str, normed: Normed) -> None:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise ConfigurationError(f"timm has no weights of {name}: give a checkpoint as --init")
        norm = partial(LayerNorm, eps=normed.eps)
        model = timm.create_model(normed.base, norm_layer=norm, **options)
        normed.begin(model)
        return model

    build.__name__ = name
    register_model(build)


for _name, _normed in NORMED.items():
    _register(_name, _normed)
