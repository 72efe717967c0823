"""Multi-task masked image modeling: SimMIM that also predicts maps. Of no one paper; it is what
SG-MIM is to be measured against.

    image, hidden --> Encoder --+--> PixelHead --> image, where hidden
                                |
                                +--> PixelHead --> depth

What SG-MIM has the guidance find out together with the image, the image finds out by itself: no
part of a map is ever seen, there is nothing to fuse, and heads, targets and losses are SG-MIM's.
With nothing hidden (mask_ratio 0) an image is not painted, and this is prediction of maps outright.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance import own
from sgmim.guidance.asked import Ask, asking
from sgmim.guidance.views import drawn
from sgmim.layers import PixelHead, mask_token, take, tokens
from sgmim.losses import painted_l1
from sgmim.masking import RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Pictures


class MultiTask(Objective):
    """Paint the hidden patches, and predict maps from the patches that are visible.

    Args:
        encoder: any.
        maps: that are predicted, and how where it is not as usual: '{edges: {weight: 0.5}}'. Depth,
            if not given.
        where: a map's loss counts: where the image is "visible", as SG-MIM's; where it is "hidden",
            as the image's; or on "all" of it.
        mask_ratio: share of the image that is hidden; 0 hides nothing, and paints no image.
        mask_size: pixels a side of the squares that are hidden.
        image_weight: of the image's loss.

    Raises:
        ConfigurationError: squares that do not tile the image or cut cells of the feature map,
            options of a map that do not go together, or nothing that is asked for.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        maps: dict[str, Ask] | None = None,
        where: Literal["visible", "hidden", "all"] = "visible",
        mask_ratio: float = 0.6,
        mask_size: int = 32,
        image_weight: float = 1.0,
    ):
        super().__init__()
        self.encoder, self.where, self.image_weight = encoder, where, image_weight
        self.maps = asking({"depth": Ask()} if maps is None else maps, encoder)
        if not self.maps or (where == "hidden" and not mask_ratio):
            raise ConfigurationError(
                "no map is asked for: name one of some weight as --method.maps '{depth: {}}', and "
                "ask where there is something: with mask_ratio 0 nothing is hidden"
            )
        needed = [name for each in self.maps for name in each.needs]
        self.needs = tuple(dict.fromkeys(["image", *needed]))
        self.map_heads = nn.ModuleDict({each.name: each.head(encoder) for each in self.maps})
        self.mask, self.token, self.head = None, None, None
        if mask_ratio:
            self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
            if where != "all":
                self.mask.check_cells()
            self.token = mask_token(encoder.patch_dim)
            self.head = PixelHead(encoder.dim, encoder.stride, encoder.channels)

    def forward(self, batch: Batch) -> Losses:
        image, hidden = batch["image"], self._hidden(batch)
        features = tokens(self.encoder(image, hidden, self.token))
        losses = {}
        if self.mask and self.head:
            cells = self.mask.part(hidden).cells
            painted = painted_l1(self.head, take(features, cells), only(image, hidden), cells)
            losses["image"] = self.image_weight * painted
        cells = self._cells(hidden)
        features = take(features, cells)
        for each in self.maps:
            wanted, trust = each.seen(batch, each.wanted), each.trust(batch)
            losses[each.name] = each.wrong(
                own(self.map_heads, each.name), features, wanted, trust, cells
            )
        return losses

    def warnings(self, batch: Batch) -> list[str]:
        for each in self.maps:
            each.check(batch)
        return []

    def pictures(self, batch: Batch) -> Pictures:
        image, hidden = batch["image"], self._hidden(batch)
        features = self.encoder(image, hidden, self.token)
        pictures = {"image": image}
        if self.head:
            seen, painted = only(image, ~hidden), self.head.paint(features).float()
            pictures["image, hidden"] = seen
            pictures["image, painted"] = seen.where(seen.isfinite(), painted)
        for each in self.maps:
            pictures[each.name] = drawn(each.wanted, each.seen(batch, each.wanted))
            head = own(self.map_heads, each.name)
            pictures |= each.answered(head, features, self._asked(hidden))
        return pictures

    def _hidden(self, batch: Batch) -> Bool[Tensor, "b h w"]:
        """The patches that the encoder does not see."""
        if self.mask:
            return self.mask(keys(batch))
        rows, columns = (side // self.encoder.patch for side in self.encoder.image_size)
        image = batch["image"]
        return image.new_zeros((len(image), rows, columns), dtype=torch.bool)

    def _asked(self, hidden: Bool[Tensor, "b h w"]) -> Bool[Tensor, "b h w"]:
        """The patches where maps are asked for."""
        if self.where == "all":
            return torch.ones_like(hidden)
        return hidden if self.where == "hidden" else ~hidden

    def _cells(self, hidden: Bool[Tensor, "b h w"]) -> Int[Tensor, "b m"]:
        """The cells of the feature map there, by their place."""
        mask = self.mask
        if mask is None or self.where == "all":
            rows, columns = self.encoder.grid
            return torch.arange(rows * columns, device=hidden.device).expand(len(hidden), -1)
        count = mask.count if self.where == "hidden" else mask.squares - mask.count
        return mask.part(self._asked(hidden), count).cells
