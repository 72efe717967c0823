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

Any map guides as depth does, and several do at once: each has an extractor, a head and a loss of
its own (guidance), and one fusion is asked for all of them.

Only what counts is computed: features of the squares of depth that are shown, answers of the cells
that are asked, pixels where the image is hidden. Neither extractor nor heads look across the edge
of a cell and queries do not see each other, so the loss and its gradients are those of the whole.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.guidance import Extractor, Guide, gathered, guiding, own
from sgmim.guidance.asked import Loss, Target
from sgmim.guidance.fusion import Fusion
from sgmim.guidance.views import Map
from sgmim.layers import PixelHead, mask_token, take, tokens
from sgmim.losses import check_window, from_surroundings, in_surroundings, painted_l1
from sgmim.masking import Part, RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Pictures
from sgmim.weighting import Weights

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
        guides: the maps that guide, where there are several; what one leaves out is as below.
        channels: of a map; 3 of normals, else 1, if not given.
        mask_ratio: share of the image that is hidden.
        mask_size: pixels a side of the squares that are hidden; a multiple of the encoder's stride.
        guidance_mask: where a map is hidden from the guidance, which is asked for it there.
            "complement": where the image is visible (paper); "random": drawn by itself, in the same
            ratio (Table 6); "same": where the image is hidden; "none": shown and asked everywhere.
        share: of several maps, "all" are shown wherever one would be, or they are dealt out at
            random ("partition"): each square shows one of them.
        extractor: what makes features of a map (guidance.extractors, Table 5; guidance.pointnet).
        mlp_ratio: of the extractor "mlp", hidden over full width.
        target: what is asked for: the "map" itself, or "coordinates" or "normals" of the points in
            space that depth is of. These take a camera; see docs/paper.md for relative depth.
        loss: of what is asked for (losses.py). "auto": "cosine" for normals, "cross_entropy" for a
            map of classes or segments, else "l1".
        positions: that the fusion is given (guidance.fusion).
        fusion_blocks: cross-attention blocks.
        fusion_heads: heads of each.
        hidden_context: "drop" cells of a map that are hidden, or "keep" them as constants.
        image_weight: of the image's loss.
        knowledge_weight: of a map's loss; with 0 there is no guidance, and this is SimMIM.
        standardize_eps: inside the root of a map's deviation (losses.trimmed_standardized).
        target_window: of the image, see SimMIM; the paper says nothing of it.
        weights: of the image's pixels, by any map (weighting.py); none as in the paper.

    Raises:
        ConfigurationError: squares that do not tile the image or cut cells of the feature map,
            heads that do not divide its channels, fewer than one of heads or blocks, a negative
            mlp_ratio, or options of a map that do not go together.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        knowledge: str = "depth",
        guides: dict[str, Guide] | None = None,
        channels: int | None = None,
        mask_ratio: float = 0.6,
        mask_size: int = 32,
        guidance_mask: Literal["complement", "random", "same", "none"] = "complement",
        share: Literal["all", "partition"] = "all",
        extractor: Extractor = "mlp",
        mlp_ratio: float = 0.125,
        target: Target = "map",
        loss: Loss = "auto",
        positions: Literal["sincos", "learned", "none"] = "sincos",
        fusion_blocks: int = 1,
        fusion_heads: int = 8,
        hidden_context: Literal["drop", "keep"] = "drop",
        image_weight: float = 1.0,
        knowledge_weight: float = 1.0,
        standardize_eps: float = 1e-6,
        target_window: int = 0,
        weights: Weights | None = None,
    ):
        super().__init__()
        self.guidance_mask, self.image_weight = guidance_mask, image_weight
        self.keep_hidden, self.is_dealt = hidden_context == "keep", share == "partition"
        check_window(target_window)
        self.encoder, self.weights, self.target_window = encoder, weights, target_window
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.token = mask_token(encoder.patch_dim)
        self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)
        usual = Guide(
            channels=channels, extractor=extractor, mlp_ratio=mlp_ratio, target=target, loss=loss,
            weight=knowledge_weight, standardize_eps=standardize_eps, portion=1.0,
        )  # fmt: skip
        self.guides = guiding(guides, knowledge, usual, encoder)
        named = [name for each in self.guides for name in each.needs]
        self.needs = tuple(dict.fromkeys(["image", *named, *(weights.needs if weights else ())]))
        if weights:
            weights.check(encoder.image_size)
        if not self.guides:
            return
        self.mask.check_cells()
        self.extractor = gathered(
            {each.name: each.extractor(encoder, self.keep_hidden) for each in self.guides}
        )
        self.fusion = Fusion(
            encoder, blocks=fusion_blocks, heads=fusion_heads, positions=positions,
            maps=len(self.guides),
        )  # fmt: skip
        self.knowledge_head = gathered({each.name: each.head(encoder) for each in self.guides})

    @classmethod
    def paper_code(cls, encoder: Encoder, **options: Any) -> "SGMIM":
        """The authors' first commit exactly."""
        return cls(encoder, **PAPER_CODE, **options)

    def forward(self, batch: Batch) -> Losses:
        image, drawn = batch["image"], keys(batch)
        hidden = self.mask(drawn)
        features = tokens(self.encoder(image, hidden, self.token))
        cells = self.mask.part(hidden).cells
        weights = self.weights(batch) if self.weights else None
        wanted = only(in_surroundings(image, self.target_window), hidden)
        painted = painted_l1(self.head, take(features, cells), wanted, cells, weights)
        losses = {"image": self.image_weight * painted}
        if self.guides:
            shown, asked = self._parts(hidden, drawn)
            views = [each.view(batch) for each in self.guides]
            shares = self._shares(shown, drawn)
            guided = self._guided(features, [view.given for view in views], shares, asked.cells)
            for each, view in zip(self.guides, views, strict=True):
                head = own(self.knowledge_head, each.name)
                losses[each.name] = each.loss(head, guided, view, asked.cells)
        return losses

    def warnings(self, batch: Batch) -> list[str]:
        for each in self.guides:
            each.check(batch)
        return self.weights.warnings(batch) if self.weights else []

    def pictures(self, batch: Batch) -> Pictures:
        image, drawn = batch["image"], keys(batch)
        hidden = self.mask(drawn)
        features = self.encoder(image, hidden, self.token)
        painted = from_surroundings(self.head.paint(features).float(), image, self.target_window)
        seen = only(image, ~hidden)
        pictures = {
            "image": image,
            "image, hidden": seen,
            "image, painted": seen.where(seen.isfinite(), painted),
        }
        if self.weights:
            pictures["weights"] = self.weights(batch)
        if self.guides:
            shown, asked = self._parts(hidden, drawn)
            views, shares = [each.view(batch) for each in self.guides], self._shares(shown, drawn)
            everywhere = torch.arange(features[0, 0].numel(), device=image.device)
            everywhere, given = everywhere.expand(len(image), -1), [view.given for view in views]
            guided = self._guided(tokens(features), given, shares, everywhere)
            guided, where = guided.transpose(1, 2).view_as(features), asked.at(self.encoder.patch)
            for each, view, part in zip(self.guides, views, shares, strict=True):
                head, seen = own(self.knowledge_head, each.name), part.at(self.encoder.patch)
                pictures |= each.pictures(head, guided, view, seen, where)
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

    def _shares(self, shown: Part, drawn: Int[Tensor, " b"]) -> list[Part]:
        """What each map shows of the part that is shown."""
        if not self.is_dealt or len(self.guides) == 1:
            return [shown] * len(self.guides)
        portions = [cast(float, each.options.portion) for each in self.guides]
        return self.mask.dealt(shown, portions, drawn, stream=2)

    def _guided(
        self,
        features: Float[Tensor, "b n d"],
        given: Sequence[Map],
        shown: Sequence[Part],
        cells: Int[Tensor, "b m"],
    ) -> Float[Tensor, "b m d"]:
        """The features of some cells, guided by the part of every map that it shows."""
        contexts = []
        for each, known, part in zip(self.guides, given, shown, strict=True):
            hidden = self.mask.rest(part) if self.keep_hidden else None
            context = own(self.extractor, each.name)(known, part, hidden, self.encoder)
            places = part.cells if hidden is None else torch.cat([part.cells, hidden.cells], dim=1)
            contexts.append((context, places))
        return self.fusion(take(features, cells), cells, contexts)
