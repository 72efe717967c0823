"""MultiMAE: Multi-modal Multi-task Masked Autoencoders (Bachmann et al., 2022).

https://arxiv.org/abs/2204.01678

    image   --> patches --+                        +--> OutputAdapter --> image, where hidden
    depth   --> patches --+-- visible --> Encoder -+--> OutputAdapter --> depth, where hidden
    classes --> patches --+                        +--> OutputAdapter --> classes, where hidden

One encoder sees a sixth of all patches of all maps, now more of one map and now of another; from
these few each map is painted by a small decoder of its own. The image is asked for twice: as it is,
and every patch in its own scale.

What fine-tuning takes over is the encoder with the image's patch embedding and its class token (the
paper's global token). The ways in of the other maps and all ways out stay behind: whoever has depth
also downstream must learn to embed it anew.

Positions are fixed, for the image and all maps the same: a patch is told from those of other maps
at its place by how it was embedded, and by nothing else.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sgmim.dirichlet import DirichletMask
from sgmim.encoders.base import Encoder
from sgmim.encoders.plain import PlainEncoder, leaving_out
from sgmim.errors import ConfigurationError
from sgmim.guidance.asked import NOT_MAPS
from sgmim.layers import take
from sgmim.masking import keys
from sgmim.modalities import MapOptions, Modality
from sgmim.objective import Batch, Losses, Objective, Pictures


class MultiMAE(Objective):
    """Paint the hidden parts of an image and its maps from the few visible ones of all of them.

    Args:
        encoder: a ViT (multimae_vit_base_patch16 is the paper's, with no norm at the end), or a
            BEiT whose blocks share their position bias.
        maps: beside the image; what one leaves out is usual for it. Depth, if not given.
        mask_ratio: share of the patches of all maps that is hidden, rounded up; 98 of 588 are
            visible in the paper.
        alpha: concentration of the shares that maps have in what is visible (dirichlet.py).
        loss_on: the patches that are "hidden", or "all" of them.
        positions: of the encoder, for all maps the same. "sincos": fixed; "learned": as it comes.
        decoder_depth: blocks of self-attention in each output adapter.
        decoder_width: channels of a token in there.
        decoder_heads: of all its attention.
        image_weight: of the loss of pixels as they are.
        normalized_weight: of the loss of pixels in the scale of their patch. With a weight of 0
            there is no output adapter.

    Raises:
        ConfigurationError: an encoder that cannot leave patches out, options of a map that do not
            go together, nothing that is asked for, or numbers out of their range.
    """

    encoder: PlainEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        maps: dict[str, MapOptions] | None = None,
        mask_ratio: float = 5 / 6,
        alpha: float = 1.0,
        loss_on: Literal["hidden", "all"] = "hidden",
        positions: Literal["sincos", "learned"] = "sincos",
        decoder_depth: int = 2,
        decoder_width: int = 256,
        decoder_heads: int = 8,
        image_weight: float = 1.0,
        normalized_weight: float = 1.0,
    ):
        super().__init__()
        self.encoder = leaving_out(encoder, "MultiMAE")
        if positions == "sincos":
            self.encoder.fix_positions(rows_first=True)
        told = {"depth": MapOptions()} if maps is None else maps
        if unfit := [name for name in told if name in NOT_MAPS or "." in name]:
            raise ConfigurationError(f"{unfit[0]!r} is no map that can be shown beside the image")
        image = Modality.of_image(encoder, weight=image_weight)
        scaled = Modality.of_image(encoder, weight=normalized_weight, normalized=True)
        self.maps = [image, *(Modality(name, each, encoder) for name, each in told.items())]
        self.asked = [each for each in (*self.maps, scaled) if each.weight]
        if not self.asked:
            raise ConfigurationError("every weight is 0: MultiMAE would be asked for nothing")
        self.needs = tuple(each.name for each in self.maps)
        self.limits = {each.name: each.classes for each in self.maps if each.classes}
        self.loss_on = loss_on
        alphas = [alpha, *(alpha if e.alpha is None else e.alpha for e in told.values())]
        self.mask = DirichletMask(encoder, alphas=alphas, ratio=mask_ratio)
        self.inputs = nn.ModuleDict(
            {each.name: each.input_adapter(encoder) for each in self.maps[1:]}
        )
        shape = {"depth": decoder_depth, "width": decoder_width, "heads": decoder_heads}
        self.outputs = nn.ModuleDict(
            {
                each.title: each.output_adapter(
                    encoder, own=self._place(each), maps=len(self.maps), **shape
                )
                for each in self.asked
            }
        )

    def forward(self, batch: Batch) -> Losses:
        values, dealt = self._values(batch), self.mask(keys(batch))
        losses = {}
        for each, painted in self._painted(values, dealt.rows):
            place = self._place(each)
            asked = dealt.hidden[:, place] if self.loss_on == "hidden" else None
            losses[each.title] = each.loss(painted, values[place], asked)
        return losses

    def warnings(self, batch: Batch) -> list[str]:
        for each in self.maps:
            each.check(batch)
        return []

    def pictures(self, batch: Batch) -> Pictures:
        values, dealt = self._values(batch), self.mask(keys(batch))
        found = {each.title: painted for each, painted in self._painted(values, dealt.rows)}
        pictures: Pictures = {}
        for place, each in enumerate(self.maps):
            hidden = self.mask.at(dealt.hidden[:, place])
            pictures |= each.pictures(values[place], hidden, found.get(each.title))
        return pictures

    def _values(self, batch: Batch) -> list[Tensor]:
        return [each.values(batch) for each in self.maps]

    def _place(self, asked: Modality) -> int:
        """Which of the maps something that is asked for is of."""
        return self.needs.index(asked.name)

    def _painted(
        self, values: list[Tensor], rows: Int[Tensor, "b k"]
    ) -> Iterator[tuple[Modality, Float[Tensor, "b n _"]]]:
        """Everything that is asked for, from some patches of all maps, named by their places."""
        seen, overall = self._encoded(values, rows)
        for each in self.asked:
            yield each, self.outputs[each.title](seen, overall, rows)

    def _encoded(
        self, values: list[Tensor], rows: Int[Tensor, "b k"]
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b _ d"]]:
        """What the encoder makes of some patches of all maps, and of class and register tokens."""
        encoder, cells = self.encoder, self.mask.cells
        embedded = (self.inputs[e.name](v) for e, v in zip(self.maps[1:], values[1:], strict=True))
        placed = [encoder.without_prefix(encoder.placed(patches)) for patches in embedded]
        tokens = torch.cat([encoder.placed(encoder.embed(values[0])), *placed], dim=1)
        mixed = encoder.mix(take(tokens, encoder.rows(rows)), encoder.rows(rows % cells))
        seen = encoder.without_prefix(mixed)
        return seen, mixed[:, : mixed.shape[1] - seen.shape[1]]
