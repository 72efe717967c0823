"""CroCo: Self-Supervised Pre-training for 3D Vision Tasks by Cross-View Completion
(Weinzaepfel et al., 2022).

https://arxiv.org/abs/2210.10716

    image, a tenth visible --> Encoder --+
                                  |      v
                              (the same) Decoder --> linear --> image, where hidden
                                  |      ^
    second, all visible -----> Encoder --+

Nine tenths of a photograph are painted from the rest of it and from a second photograph of the same
scene. A tenth says little about what is hidden; the second photograph says it all, for whoever
finds where each of its parts is seen from here. That is what is learnt.

With the encoder "rotary_vit_*" and positions "rotary" it is the network of CroCo v2 (Weinzaepfel et
al., 2023, arXiv:2211.10408).
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from timm.layers import Mlp
from torch import Tensor, nn

from sgmim.decoder import NORM, begin, check
from sgmim.encoders.base import Encoder
from sgmim.encoders.plain import PlainEncoder, leaving_out
from sgmim.encoders.rotary import RotaryAttention, RotaryCrossAttention, Turns, turns
from sgmim.layers import image_of_pixels, patches_of_pixels, sincos, take
from sgmim.losses import painted_mse
from sgmim.masking import RandomMask, keys
from sgmim.objective import Batch, Losses, Objective, Painting, Pictures


class CroCo(Objective):
    """Paint the hidden patches of one view of a scene with the help of another.

    Args:
        encoder: a plain one that can leave patches out; positions that it would learn are fixed.
        mask_ratio: share of the first view's patches that is hidden, rounded down.
        decoder_depth: blocks.
        decoder_width: channels.
        decoder_heads: heads of each attention.
        positions: of the decoder: sines and cosines that are added, or "rotary" as in CroCo v2.
        normalize: ask for each patch in its own scale: by mean and deviation of its pixels.

    Raises:
        ConfigurationError: an encoder that cannot leave patches out, or a decoder that is none.
    """

    needs = paints_from = ("image", "second")
    encoder: PlainEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.9,
        decoder_depth: int = 8,
        decoder_width: int = 512,
        decoder_heads: int = 16,
        positions: Literal["sincos", "rotary"] = "sincos",
        normalize: bool = True,
    ):
        super().__init__()
        self.encoder = leaving_out(encoder, "CroCo")
        self.encoder.fix_positions()
        self.normalize = normalize
        self.mask = RandomMask(encoder, ratio=mask_ratio, size=None, round_up=False)
        self.decoder = Decoder(
            self.encoder, decoder_depth, decoder_width, decoder_heads, positions == "rotary"
        )
        self.head = nn.Linear(decoder_width, encoder.channels * encoder.patch**2)
        begin(self.head)

    def forward(self, batch: Batch) -> Losses:
        image = batch["image"]
        visible, hidden = self.mask.cells(self.mask(keys(batch)))
        features = self.features(image, batch["second"], visible)
        painted = self.head(take(features, hidden))
        wanted = take(patches_of_pixels(image, self.encoder.patch), hidden)
        return {"image": painted_mse(painted, wanted, normalized=self.normalize)}

    def features(
        self,
        image: Float[Tensor, "b c H W"],
        second: Float[Tensor, "b c H W"],
        visible: Int[Tensor, "b m"],
    ) -> Float[Tensor, "b n d"]:
        """What the decoder makes of every patch of the first view."""
        seen = self.encoder.trunk_of(self.encoder.embed(image), visible)
        return self.decoder(seen, visible, self.whole(second))

    def whole(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b n d"]:
        """What the encoder makes of every patch of a view of which nothing is hidden."""
        tokens = self.encoder.placed(self.encoder.embed(image))
        return self.encoder.without_prefix(self.encoder.mix(tokens))

    def paint(self, batch: Batch) -> Painting:
        """What is asked in a patch's own scale is painted with mean and contrast of the same patch
        of the second view."""
        return next(self._paintings(batch))

    def pictures(self, batch: Batch) -> Pictures:
        """What is asked in a patch's own scale, also "to scale": with mean and contrast of the
        hidden patch itself."""
        usual, *own = self._paintings(batch)
        pictures = usual.pictures() | {"image, second": batch["second"].float()}
        if own:
            pictures["image, painted to scale"] = own[0].filled
        return pictures

    def _paintings(self, batch: Batch) -> Iterator[Painting]:
        image, second = batch["image"].float(), batch["second"].float()
        marked = self.mask(keys(batch))
        visible, _ = self.mask.cells(marked)
        squares = self.head(self.features(batch["image"], batch["second"], visible)).float()

        def placed(squares: Float[Tensor, "b n q"], is_measured: bool = True) -> Painting:
            painted = image_of_pixels(squares, self.encoder.grid, self.encoder.patch)
            return Painting(image, marked, painted, is_measured)

        if not self.normalize:
            yield placed(squares)
            return
        yield placed(self._scaled(squares, second))
        yield placed(self._scaled(squares, image), False)

    def _scaled(
        self, squares: Float[Tensor, "b n q"], like: Float[Tensor, "b c H W"]
    ) -> Float[Tensor, "b n q"]:
        """Each patch with mean and deviation of that of an image."""
        pixels = patches_of_pixels(like, self.encoder.patch)
        deviation, mean = torch.std_mean(pixels, dim=2, keepdim=True)
        return squares * deviation + mean


class Decoder(nn.Module):
    """From the visible patches of one view and all of another to features of all of the first.

    Raises:
        ConfigurationError: no blocks or heads, or heads that do not divide the channels.
    """

    places: Tensor
    turns: Tensor | None

    def __init__(self, encoder: PlainEncoder, depth: int, width: int, heads: int, rotary: bool):
        super().__init__()
        check(depth, width, heads)
        self.enter = nn.Linear(encoder.dim, width)
        self.token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = NORM(width)
        places = torch.zeros(()) if rotary else sincos(encoder.grid, width)
        by = turns(encoder.grid, width // heads) if rotary else None
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("turns", by, persistent=False)
        self.apply(begin)

    def forward(
        self,
        seen: Float[Tensor, "b m c"],
        visible: Int[Tensor, "b m"],
        second: Float[Tensor, "b n c"],
    ) -> Float[Tensor, "b n d"]:
        """Features of all patches of the first view, of which some were seen and where is told."""
        known, memory = self.enter(seen), self.enter(second) + self.places
        x = self.token.to(known.dtype).expand(len(known), second.shape[1], -1)
        x = x.scatter(1, visible[..., None].expand_as(known), known) + self.places
        for block in self.blocks:
            x = block(x, memory, self.turns)
        return self.norm(x)


class Block(nn.Module):
    """Look at each other, then at the other view, then think: CroCo's decoder block.

    All blocks are given the same memory, each with a norm of its own.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm_y = (NORM(dim) for _ in range(4))
        self.attn = RotaryAttention(dim, heads, qkv_bias=True)
        self.cross_attn = RotaryCrossAttention(dim, heads)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(
        self, x: Float[Tensor, "b n d"], memory: Float[Tensor, "b k d"], by: Turns | None
    ) -> Float[Tensor, "b n d"]:
        x = x + self.attn(self.norm1(x), by)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(memory), by)
        return x + self.mlp(self.norm3(x))
