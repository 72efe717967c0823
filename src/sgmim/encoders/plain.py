"""ViT and BEiT: one resolution from first block to last, so hidden patches can also be left out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from jaxtyping import Float, Int
from timm.layers import LayerNorm, PatchEmbed
from timm.models import register_model
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.layers import take

# SimMIM's ViT is no plain ViT: one relative position bias shared by all blocks, no absolute
# positions, layer scale 0.1 (SimMIM, models/vision_transformer.py). timm has it as a BEiT.
SIMMIM_VIT = {
    "use_abs_pos_emb": False,
    "use_rel_pos_bias": False,
    "use_shared_rel_pos_bias": True,
    "init_values": 0.1,
}
SIMMIM_VITS = {
    "simmim_vit_tiny_patch16": {"embed_dim": 192, "num_heads": 3},
    "simmim_vit_small_patch16": {"embed_dim": 384, "num_heads": 6},
    "simmim_vit_base_patch16": {},
    "simmim_vit_large_patch16": {"embed_dim": 1024, "num_heads": 16, "depth": 24},
}
# KAMIM's ViTs are Hugging Face's: plain, but for the eps of their norms and how they begin.
KAMIM_VITS = {
    f"kamim_vit_{size}_patch16": f"vit_{size}_patch16_224" for size in ("tiny", "small", "base")
}


def init_simmim(vit: Beit) -> None:
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


def _kamim_vit(name: str, base: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise ConfigurationError(f"timm has no weights of {name}: give a checkpoint as --init")
        vit = timm.create_model(base, norm_layer=partial(LayerNorm, eps=1e-12), **options)
        init_kamim(vit)
        return vit

    build.__name__ = name
    return build


for _name, _base in KAMIM_VITS.items():  # timm is to rebuild them from name and options, as others
    register_model(_kamim_vit(_name, _base))


class PlainEncoder(Encoder):
    """A timm ViT or BEiT, class and register tokens inside, patch tokens out."""

    backbones = (VisionTransformer, Beit)
    backbone: VisionTransformer | Beit

    def __init__(self, backbone: VisionTransformer | Beit, name: str, options: dict[str, Any]):
        super().__init__()
        self.backbone, self.name, self.options = backbone, name, options
        stem = backbone.patch_embed
        assert isinstance(stem, PatchEmbed), "see encoders.wrap"
        self.image_size = tuple(stem.img_size)
        self.channels = stem.proj.in_channels
        self.dim = self.patch_dim = backbone.num_features
        self.patch = self.stride = stem.patch_size[0]
        self.widths, self.strides = (self.dim,) * 4, (self.stride,) * 4
        # a BEiT whose blocks have biases of their own lays them out for all patches
        tables = (n for n, _ in backbone.blocks.named_parameters() if "relative_position" in n)
        self.can_leave_out = not any(tables)

    @property
    def blocks(self):
        return list(self.backbone.blocks)

    def embed(self, image):
        return self.backbone.patch_embed(image).unflatten(1, self.grid)

    def trunk(self, patches):
        tokens = self._blocks(self._positioned(patches), self._bias())
        return self._without_prefix(tokens).transpose(1, 2).unflatten(2, self.grid)

    def trunk_of(
        self, patches: Float[Tensor, "b h w d"], cells: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m d"]:
        """The trunk on some patches alone, named by their place row by row; the others are absent.

        Only where `can_leave_out` says so.
        """
        assert self.can_leave_out
        prefix = self.backbone.num_prefix_tokens
        always = torch.arange(prefix, device=cells.device).expand(len(cells), -1)
        rows = torch.cat([always, cells + prefix], dim=1)  # (b, prefix + m)
        bias = self._bias()
        if bias is not None:  # (heads, n, n), of which every image keeps its own rows and columns
            bias = bias[:, rows[:, :, None], rows[:, None, :]].transpose(0, 1)
        tokens = self._blocks(take(self._positioned(patches), rows), bias)
        return self._without_prefix(tokens)

    def pyramid(self, image):
        """The outputs of four blocks evenly spaced, before the final norm."""
        blocks = len(self.backbone.blocks)
        quarters = [max(0, (i + 1) * blocks // 4 - 1) for i in range(4)]
        chosen = sorted(set(quarters))  # fewer than four in a very small ViT
        maps = self.backbone.forward_intermediates(image, indices=chosen, intermediates_only=True)
        return [maps[chosen.index(block)] for block in quarters]

    def _positioned(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b n d"]:
        vit, tokens = self.backbone, patches.flatten(1, 2)
        if isinstance(vit, VisionTransformer):
            if vit.dynamic_img_size:
                tokens = patches
            return vit.norm_pre(vit._pos_embed(tokens))
        tokens = torch.cat([vit.cls_token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], 1)
        return tokens if vit.pos_embed is None else tokens + vit.pos_embed

    def _bias(self) -> Float[Tensor, "heads n n"] | None:
        """The position bias that all blocks share, if there is one."""
        shared = getattr(self.backbone, "rel_pos_bias", None)
        return shared() if shared is not None else None

    def _blocks(self, tokens: Tensor, bias: Tensor | None) -> Float[Tensor, "b n d"]:
        options: dict[str, Any] = {}
        if isinstance(self.backbone, Beit):
            options["shared_rel_pos_bias"] = bias
        for block in self.backbone.blocks:
            if self.backbone.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False, **options)
            else:
                tokens = block(tokens, **options)
        return self.backbone.norm(tokens)

    def _without_prefix(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        return tokens[:, self.backbone.num_prefix_tokens :]
