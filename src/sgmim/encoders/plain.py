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

from sgmim.encoders.base import QUARTERS, Encoder
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
        self.has_class_token = backbone.cls_token is not None

    @property
    def blocks(self):
        return list(self.backbone.blocks)

    def embed(self, image):
        return self.backbone.patch_embed(image).unflatten(1, self.grid)

    def trunk(self, patches):
        return self._map(self._blocks(self._positioned(patches), self._bias()))

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

    def levels(self, blocks=None, *, of_twelve=QUARTERS):
        depth = len(self.backbone.blocks)
        if blocks is None:  # a very small ViT shows a block more than once
            return tuple(max(0, depth * place // 12 - 1) for place in of_twelve)
        if unknown := [block for block in blocks if not 0 <= block < depth]:
            raise ConfigurationError(
                f"{self.name} has {depth} blocks, counted from 0 to {depth - 1}: there is no "
                f"block {unknown[0]}"
            )
        return tuple(blocks)

    def pyramid(self, image, levels=None):
        """The outputs of some blocks, before the final norm."""
        return [self._map(tokens) for tokens in self._outputs(image, levels)]

    def pyramid_with_class(self, image, levels=None):
        assert self.has_class_token
        outputs = self._outputs(image, levels)
        classes = [tokens[:, 0, :, None, None] for tokens in outputs]  # before any registers
        return [self._map(tokens) for tokens in outputs], classes

    def unseen(self, levels):
        later = [self.backbone.norm, *self.blocks[max(levels) + 1 :]]
        return [parameter for module in later for parameter in module.parameters()]

    def _outputs(
        self, image: Float[Tensor, "b c H W"], levels: tuple[int, ...] | None
    ) -> list[Float[Tensor, "b n d"]]:
        """What some blocks make of an image; none after the last of them is asked."""
        levels = self.levels() if levels is None else levels
        tokens, bias = self._positioned(self.embed(image)), self._bias()
        outputs = {}
        for number, block in enumerate(self.blocks[: max(levels) + 1]):
            tokens = self._block(block, tokens, bias)
            if number in levels:
                outputs[number] = tokens
        return [outputs[level] for level in levels]

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
        for block in self.backbone.blocks:
            tokens = self._block(block, tokens, bias)
        return self.backbone.norm(tokens)

    def _block(
        self, block: nn.Module, tokens: Tensor, bias: Tensor | None
    ) -> Float[Tensor, "b n d"]:
        options: dict[str, Any] = {}
        if isinstance(self.backbone, Beit):
            options["shared_rel_pos_bias"] = bias
        if self.backbone.grad_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False, **options)
        return block(tokens, **options)

    def _map(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d h w"]:
        return self._without_prefix(tokens).transpose(1, 2).unflatten(2, self.grid)

    def _without_prefix(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        return tokens[:, self.backbone.num_prefix_tokens :]
