"""ViT and BEiT: one resolution from first block to last, so hidden patches can also be left out."""

from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, Int
from timm.layers import PatchEmbed
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sgmim.encoders import resizing
from sgmim.encoders.base import QUARTERS, Encoder
from sgmim.encoders.rotary import RotaryViT
from sgmim.errors import ConfigurationError
from sgmim.layers import sincos, take


def leaving_out(encoder: Encoder, method: str) -> "PlainEncoder":
    """The encoder, for a method that has it see some patches alone.

    Raises:
        ConfigurationError: the encoder cannot leave any out.
    """
    if isinstance(encoder, PlainEncoder) and encoder.can_leave_out:
        return encoder
    because = (
        "its blocks have position biases of their own, for all patches"
        if encoder.is_plain
        else "its windows need all patches"
    )
    raise ConfigurationError(
        f"{method} has the encoder see the visible patches alone, which {encoder.name} cannot: "
        f"{because}. A plain ViT can: mae_vit_base_patch16, simmim_vit_base_patch16"
    )


class PlainEncoder(Encoder):
    """A timm ViT or BEiT, or a rotary ViT, class and register tokens inside, patch tokens out."""

    backbones = (VisionTransformer, Beit, RotaryViT)
    backbone: VisionTransformer | Beit  # a rotary one is a VisionTransformer, too

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
        self.prefix = backbone.num_prefix_tokens
        positions = getattr(backbone, "pos_embed", None)
        self.takes_any_size = isinstance(backbone, VisionTransformer) and positions is not None

    @property
    def blocks(self):
        return list(self.backbone.blocks)

    def embed(self, image):
        stem = self.backbone.patch_embed
        if tuple(image.shape[2:]) == self.image_size or not self.takes_any_size:
            return stem(image).unflatten(1, self.grid)
        if any(side % self.patch for side in image.shape[2:]):
            raise ConfigurationError(
                f"patches of {self.patch} pixels do not divide a "
                f"{image.shape[2]} x {image.shape[3]} image"
            )
        return stem.norm(stem.proj(image).movedim(1, -1))

    def trunk(self, patches):
        return self._map(self.mix(self.placed(patches)))

    def trunk_of(
        self, patches: Float[Tensor, "b h w d"], cells: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m d"]:
        """The trunk on some patches alone, named by their place row by row; the others are absent.

        Only where `can_leave_out` says so.
        """
        return self.without_prefix(self.tokens_of(patches, cells))

    def tokens_of(
        self, patches: Float[Tensor, "b h w d"], cells: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b k d"]:
        """The same with class and register tokens, which come first."""
        rows = self.rows(cells)
        return self.mix(take(self.placed(patches), rows), rows)

    def placed(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b n d"]:
        """Class and register tokens, if there are any, and all patches row by row, as tokens that
        know their place: what the first block is given. On another grid than its own positions are
        interpolated (DINO, vision_transformer.py), where `takes_any_size` says so."""
        vit, tokens = self.backbone, patches.flatten(1, 2)
        grid = patches.shape[1], patches.shape[2]
        if grid != self.grid:
            return self._placed_on(grid, tokens)
        if isinstance(vit, VisionTransformer):
            if vit.dynamic_img_size:
                tokens = patches
            return vit.norm_pre(vit._pos_embed(tokens))
        first = vit.cls_token.expand(tokens.shape[0], -1, -1)  # any number of images, when traced
        tokens = torch.cat([first.to(tokens.dtype), tokens], 1)
        return tokens if vit.pos_embed is None else tokens + vit.pos_embed

    def _placed_on(
        self, grid: tuple[int, int], tokens: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b n d"]:
        vit: Any = self.backbone
        prefix = [t for t in (vit.cls_token, vit.reg_token) if t is not None]
        unplaced = 0 if vit.no_embed_class else vit.num_prefix_tokens
        positions = resizing.positions(vit.pos_embed, grid, prefix=unplaced, source=self.grid)
        if vit.no_embed_class:
            positions = F.pad(positions, (0, 0, vit.num_prefix_tokens, 0))
        tokens = torch.cat([*(t.expand(len(tokens), -1, -1) for t in prefix), tokens], dim=1)
        return vit.norm_pre(vit.pos_drop(tokens + positions))

    def rows(self, cells: Int[Tensor, "b m"]) -> Int[Tensor, "b k"]:
        """Where class and register tokens and some patches stand among all tokens."""
        prefix = self.backbone.num_prefix_tokens
        always = torch.arange(prefix, device=cells.device).expand(len(cells), -1)
        return torch.cat([always, cells + prefix], dim=1)  # (b, prefix + m)

    def mix(
        self, tokens: Float[Tensor, "b k d"], rows: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k d"]:
        """All blocks and the final norm, on any tokens that know their place.

        Args:
            tokens: `placed` ones, or some of these, or others among them.
            rows: where they stand among all, if not all are there: for an encoder that has biases
                or turns in place of positions.
        """
        told = self._told(rows)
        for block in self.backbone.blocks:
            tokens = self._block(block, tokens, told)
        return self.backbone.norm(tokens)

    def without_prefix(self, tokens):
        return tokens[:, self.backbone.num_prefix_tokens :]

    def walk(self, image):
        tokens, told = self.placed(self.embed(image)), self._told()
        for block in self.blocks:
            tokens = self._block(block, tokens, told)
            yield tokens

    @property
    def layers(self):
        return (self.dim,) * len(self.blocks)

    def _parts(self):
        return self.blocks

    def summary(self, image):
        """The class token after the final norm; the mean of the others where there is none."""
        tokens = self.mix(self.placed(self.embed(image)))
        return tokens[:, 0] if self.has_class_token else self.without_prefix(tokens).mean(dim=1)

    def fix_positions(self, *, rows_first: bool = False) -> None:
        """Sine and cosine positions that are not learnt, in place of those it has; class and
        register tokens have none. An encoder with biases in place of positions is left as it is.

        Args:
            rows_first: as in MoCo v3 and MultiMAE; in MAE and CroCo columns come first (layers.py).
        """
        positions = self.backbone.pos_embed
        if positions is None:
            return
        table = sincos(self.grid, self.dim, rows_first=rows_first).to(positions)
        with torch.no_grad():
            positions.zero_()
            positions[0, positions.shape[1] - len(table) :] = table
        positions.requires_grad_(False)

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
        return [self._map(tokens) for tokens in self.outputs(image, levels)]

    def pyramid_with_class(self, image, levels=None):
        assert self.has_class_token
        outputs = self.outputs(image, levels)
        classes = [tokens[:, 0, :, None, None] for tokens in outputs]  # before any registers
        return [self._map(tokens) for tokens in outputs], classes

    def unseen(self, levels):
        return self.beyond(max(levels) + 1, norm=False)

    def outputs(self, image, levels=None):
        levels = self.levels() if levels is None else levels
        walked = islice(self.walk(image), max(levels) + 1)
        outputs = {number: tokens for number, tokens in enumerate(walked) if number in levels}
        return [outputs[level] for level in levels]

    def _told(self, rows: Int[Tensor, "b k"] | None = None) -> dict[str, Any]:
        """What every block is told of where tokens stand, beyond what they know themselves."""
        vit = self.backbone
        if isinstance(vit, RotaryViT):
            return {"by": vit.turns_of(rows)}
        if isinstance(vit, VisionTransformer):
            return {}
        bias = None if vit.rel_pos_bias is None else vit.rel_pos_bias()
        if bias is not None and rows is not None:  # (heads, n, n), of which each keeps its own
            assert self.can_leave_out
            bias = bias[:, rows[:, :, None], rows[:, None, :]].transpose(0, 1)
        return {"shared_rel_pos_bias": bias}

    def _block(
        self, block: nn.Module, tokens: Float[Tensor, "b k d"], told: dict[str, Any]
    ) -> Float[Tensor, "b k d"]:
        if self.backbone.grad_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False, **told)
        return block(tokens, **told)

    def _map(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b d h w"]:
        return self.without_prefix(tokens).transpose(1, 2).unflatten(2, self.grid)
