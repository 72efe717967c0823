"""SG-MIM: Structured Knowledge Guided Efficient Pre-training for Dense Prediction
(Son et al., 2024).

https://arxiv.org/abs/2409.02513

    image, hidden --> Encoder --+------------> PixelHead --> image, where hidden
                                |
                                +--> Fusion -> PixelHead --> depth, where visible
                                       ^
    depth, hidden --> Extractor -------+

The guidance knows depth only where the image is hidden, and is asked for it where the image is
visible: so the image features must say how what is seen relates to what is not. The image encoder
is given no depth at all and transfers without any.

Only what counts is computed: features of the squares of depth that are shown, answers of the cells
that are asked, pixels where the image is hidden. Neither extractor nor heads look across the edge
of a cell and queries do not see each other, so the loss and its gradients are those of the whole.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.extractors import Convolutional, Pointwise, Siamese, Transformer
from sgmim.fusion import Fusion
from sgmim.layers import PixelHead, mask_token, take, tokens
from sgmim.losses import painted_l1, trimmed_standardized
from sgmim.masking import Part, RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Pictures

# The authors' first commit, two weeks before the paper: patch merging without activation, hidden
# depth as constant tokens in the context, no positions.
PAPER_CODE: dict[str, Any] = {
    "extractor": "patch_merge",
    "hidden_context": "keep",
    "positions": "none",
}


class SGMIM(Objective):
    """Paint the hidden image from the rest of it, and the visible depth from the rest of that.

    Args:
        encoder: any.
        knowledge: name of the map that guides.
        channels: of that map.
        mask_ratio: share of the image that is hidden.
        mask_size: pixels a side of the squares that are hidden; a multiple of the encoder's stride.
        guidance_mask: where the map is hidden from the guidance, which is asked for it there.
            "complement": where the image is visible (paper); "random": drawn by itself, in the same
            ratio (Table 6); "same": where the image is hidden; "none": shown and asked everywhere.
        extractor: what makes features of the map (extractors.py, Table 5).
        mlp_ratio: of the extractor "mlp", hidden over full width.
        positions: that the fusion is given (fusion.py).
        fusion_blocks: cross-attention blocks.
        fusion_heads: heads of each.
        hidden_context: "drop" cells of the map that are hidden, or "keep" them as constants.
        image_weight: of the image's loss.
        knowledge_weight: of the map's loss; with 0 there is no guidance, and this is SimMIM.
        standardize_eps: inside the root of the map's deviation (losses.trimmed_standardized).

    Raises:
        ConfigurationError: squares that do not tile the image or cut cells of the feature map,
            heads that do not divide its channels, fewer than one of heads or blocks, or a negative
            mlp_ratio.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        knowledge: str = "depth",
        channels: int = 1,
        mask_ratio: float = 0.6,
        mask_size: int = 32,
        guidance_mask: Literal["complement", "random", "same", "none"] = "complement",
        extractor: Literal["mlp", "patch_merge", "transformer", "siamese", "conv"] = "mlp",
        mlp_ratio: float = 0.125,
        positions: Literal["sincos", "learned", "none"] = "sincos",
        fusion_blocks: int = 1,
        fusion_heads: int = 8,
        hidden_context: Literal["drop", "keep"] = "drop",
        image_weight: float = 1.0,
        knowledge_weight: float = 1.0,
        standardize_eps: float = 1e-6,
    ):
        super().__init__()
        self.knowledge, self.guidance_mask = knowledge, guidance_mask
        self.image_weight, self.knowledge_weight = image_weight, knowledge_weight
        self.keep_hidden, self.standardize_eps = hidden_context == "keep", standardize_eps
        self.encoder = encoder
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.token = mask_token(encoder.patch_dim)
        self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)
        self.needs = ("image",)
        if not knowledge_weight:
            return
        if mask_size % encoder.stride:
            near = encoder.stride * max(1, round(mask_size / encoder.stride))
            raise ConfigurationError(
                f"squares of {mask_size} pixels cut the cells of {encoder.stride} pixels that are "
                f"guided: the nearest mask_size is {near}"
            )
        self.needs = ("image", knowledge)
        self.extractor = _extractor(extractor, encoder, channels, mlp_ratio, self.keep_hidden)
        self.fusion = Fusion(encoder, blocks=fusion_blocks, heads=fusion_heads, positions=positions)
        self.knowledge_head = PixelHead(encoder.dim, encoder.stride, channels)

    @classmethod
    def paper_code(cls, encoder: Encoder, **options: Any) -> "SGMIM":
        """The authors' first commit exactly."""
        return cls(encoder, **PAPER_CODE, **options)

    def forward(self, batch: Batch) -> Losses:
        image, drawn = batch["image"], keys(batch)
        hidden = self.mask(drawn)
        features = tokens(self.encoder(image, hidden, self.token))
        cells = self.mask.part(hidden).cells
        painted = painted_l1(self.head, take(features, cells), only(image, hidden), cells)
        losses = {"image": self.image_weight * painted}
        if self.knowledge_weight:
            known = trimmed_standardized(batch[self.knowledge], eps=self.standardize_eps)
            shown, asked = self._parts(hidden, drawn)
            guided = self._guided(features, known, shown, asked, asked.cells)
            wanted = only(known, asked.at(self.encoder.patch))
            error = painted_l1(self.knowledge_head, guided, wanted, asked.cells)
            losses[self.knowledge] = self.knowledge_weight * error
        return losses

    def no_decay(self) -> set[str]:
        spared = super().no_decay()
        for name, module in self.named_modules():
            if isinstance(module, Fusion) and module.position is not None:
                spared.add(f"{name}.position")
            if isinstance(module, Encoder) and name != "encoder":
                spared |= {f"{name}.{parameter}" for parameter in module.no_decay()}
        return spared

    def pictures(self, batch: Batch) -> Pictures:
        image, drawn = batch["image"], keys(batch)
        hidden = self.mask(drawn)
        features = self.encoder(image, hidden, self.token)
        painted = self.head.paint(features).float()
        seen = only(image, ~hidden)
        pictures = {
            "image": image,
            "image, hidden": seen,
            "image, painted": seen.where(seen.isfinite(), painted),
        }
        if self.knowledge_weight:
            known = trimmed_standardized(batch[self.knowledge], eps=self.standardize_eps)
            shown, asked = self._parts(hidden, drawn)
            everywhere = torch.arange(features[0, 0].numel(), device=image.device)
            everywhere = everywhere.expand(len(image), -1)
            guided = self._guided(tokens(features), known, shown, asked, everywhere)
            answer = self.knowledge_head.paint(guided.transpose(1, 2).view_as(features)).float()
            patch = self.encoder.patch
            pictures |= {
                self.knowledge: known,
                f"{self.knowledge}, shown": only(known, shown.at(patch)),
                f"{self.knowledge}, predicted": only(answer, asked.at(patch)),
            }
        return pictures

    def _parts(self, hidden: Bool[Tensor, "b h w"], drawn: Int[Tensor, " b"]) -> tuple[Part, Part]:
        """The part of the map that the guidance is shown, and the part that it is asked for."""
        part, count, squares = self.mask.part, self.mask.count, self.mask.squares
        if self.guidance_mask == "complement":
            return part(hidden), part(~hidden, squares - count)
        if self.guidance_mask == "none":
            everything = part(torch.ones_like(hidden), squares)
            return everything, everything
        asked = hidden if self.guidance_mask == "same" else self.mask(drawn, stream=1)
        return part(~asked, squares - count), part(asked)

    def _guided(
        self,
        features: Float[Tensor, "b n d"],
        known: Float[Tensor, "b c H W"],
        shown: Part,
        asked: Part,
        cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, "b m d"]:
        """The features of some cells, guided by the part of the map that is shown."""
        hidden = asked if self.keep_hidden and self.guidance_mask != "none" else None
        context = self.extractor(known.nan_to_num(), shown, hidden, self.encoder)
        places = shown.cells if hidden is None else torch.cat([shown.cells, hidden.cells], dim=1)
        return self.fusion(take(features, cells), cells, context, places)


def _extractor(
    name: str, encoder: Encoder, channels: int, mlp_ratio: float, keep_hidden: bool
) -> nn.Module:
    if name in ("mlp", "patch_merge"):
        return Pointwise(encoder, channels, mlp_ratio=mlp_ratio if name == "mlp" else 0.0)
    if name == "conv":
        return Convolutional(encoder, channels)
    kind = Transformer if name == "transformer" else Siamese
    return kind(encoder, channels, keep_hidden=keep_hidden)
