"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., 2022).

https://arxiv.org/abs/2111.06377

    image, where visible --> Encoder --> Decoder --> linear --> image, where hidden
                                            ^
    places of hidden patches ---------------+

The encoder sees a quarter of the patches and nothing in place of the others: it costs a quarter,
and meets no token that it would never meet again. The decoder is light, and forgotten afterwards.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sgmim.decoder import Decoder, begin
from sgmim.encoders.base import Encoder
from sgmim.encoders.plain import PlainEncoder, leaving_out
from sgmim.layers import image_of_pixels, patches_of_pixels, spread, take, tokens
from sgmim.losses import painted_mse
from sgmim.masking import RandomMask, keys, only
from sgmim.objective import Batch, Losses, Objective, Painting, Pictures


class MAE(Objective):
    """Paint the hidden patches, of which the encoder knows nothing, with a light decoder.

    Args:
        encoder: a plain one that can leave patches out: a ViT, or SimMIM's with one bias for all
            blocks.
        mask_ratio: share of the patches that is hidden.
        mask_size: pixels a side of the squares that are hidden; if not given, single patches.
        normalize: ask for each patch in its own scale: by mean and deviation of its pixels. Better
            in the paper (Table 1d), and how the released weights were made.
        positions: of the encoder. "sincos": fixed; "learned": as it comes.
        decoder_depth: blocks.
        decoder_width: channels.
        decoder_heads: heads of each block.

    Raises:
        ConfigurationError: an encoder that cannot leave patches out, squares that do not tile the
            image, or a decoder that is none.
    """

    paints_from = ("image",)
    encoder: PlainEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.75,
        mask_size: int | None = None,
        normalize: bool = True,
        positions: Literal["sincos", "learned"] = "sincos",
        decoder_depth: int = 8,
        decoder_width: int = 512,
        decoder_heads: int = 16,
    ):
        super().__init__()
        self.encoder = leaving_out(encoder, "MAE")
        self.normalize = normalize
        if positions == "sincos":
            self.encoder.fix_positions()
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=mask_size)
        self.decoder = Decoder(
            self.encoder, depth=decoder_depth, width=decoder_width, heads=decoder_heads
        )
        self.head = nn.Linear(decoder_width, encoder.channels * encoder.patch**2)
        begin(self.head)

    def forward(self, batch: Batch) -> Losses:
        image = batch["image"]
        seen, hidden = self.mask.cells(self.mask(keys(batch)))
        wanted = take(patches_of_pixels(image, self.encoder.patch), hidden)
        painted = self.painted(image, seen, hidden)
        return {"image": painted_mse(painted, wanted, normalized=self.normalize)}

    def painted(
        self,
        image: Float[Tensor, "b c H W"],
        seen: Int[Tensor, "b m"],
        hidden: Int[Tensor, "b n"],
    ) -> Float[Tensor, "b n q"]:
        """Hidden patches, each as row, column, channel, from those that are seen."""
        known = self.encoder.tokens_of(self.encoder.embed(image), seen)
        return self.head(self.decoder(known, seen, hidden))

    def paint(self, batch: Batch) -> Painting:
        """What is asked in a patch's own scale is painted at the mean of what is seen and with its
        contrast."""
        return next(self._paintings(batch))

    def pictures(self, batch: Batch) -> Pictures:
        """What is asked in a patch's own scale, also "to scale": with mean and contrast of the
        hidden patch itself."""
        usual, *own = self._paintings(batch)
        to_scale = {"image, painted to scale": own[0].filled} if own else {}
        return usual.pictures() | to_scale

    def _paintings(self, batch: Batch) -> Iterator[Painting]:
        image, marked = batch["image"].float(), self.mask(keys(batch))
        seen, hidden = self.mask.cells(marked)
        painted = self.painted(batch["image"], seen, hidden).float()

        def placed(squares: Float[Tensor, "b n q"], is_measured: bool) -> Painting:
            grid, patch = self.encoder.grid, self.encoder.patch
            everywhere = image_of_pixels(tokens(spread(squares, hidden, grid)), grid, patch)
            return Painting(image, marked, only(everywhere, marked), is_measured)

        if not self.normalize:
            yield placed(painted, True)
            return
        squares = patches_of_pixels(image, self.encoder.patch)
        means, deviations = _scales(take(squares, seen))
        scale, middle = (values.mean(dim=1, keepdim=True) for values in (deviations, means))
        yield placed(painted * scale + middle, True)
        means, deviations = _scales(take(squares, hidden))
        yield placed(painted * deviations + means, False)


def _scales(
    squares: Float[Tensor, "b n q"],
) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n 1"]]:
    """Mean and deviation of each patch."""
    deviations, means = torch.std_mean(squares, dim=2, keepdim=True)
    return means, deviations
