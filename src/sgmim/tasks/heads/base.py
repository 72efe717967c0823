"""What every head offers: from what an encoder sees to some numbers for every pixel."""

from collections.abc import Callable
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError

Features = list[Float[Tensor, "b _ _ _"]]  # feature maps, the finest first

# How the one number a pixel of a depth head becomes meters. "sigmoid": its share of the largest
# depth; "exp": it is the logarithm of the depth; "share": it lies between 0 and 1 already, from the
# smallest depth to the largest; "standardized": in deviations from a mean.
Scale = Literal["sigmoid", "exp", "share", "standardized"]


class Head(nn.Module):
    """Numbers for every pixel, at the image's own size, from feature maps.

    Its keywords are its options; its file's name is its name on the command line.
    """

    scale: ClassVar[Scale] = "sigmoid"  # how its numbers are read where they are depths
    levels: tuple[int, ...] | None = None  # of the encoder's pyramid, where it reads that

    def __init__(self, encoder: Encoder, channels: int = 1):
        """`channels` is how many numbers a pixel gets: 1 of depth, one a class of segmentation."""
        super().__init__()

    def look(self, encoder: Encoder, image: Float[Tensor, "b c H W"]) -> Features:
        """What it reads: the last feature map, or some levels of the pyramid."""
        if self.levels is None:
            return [encoder(image)]
        return encoder.pyramid(image, self.levels)

    def unseen(self, encoder: Encoder) -> list[nn.Parameter]:
        """The parameters of the encoder that what it reads does not depend on."""
        return [] if self.levels is None else encoder.unseen(self.levels)

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b channels H W"]:
        """The numbers for an image of `size` (height, width) pixels."""
        raise NotImplementedError

    def trained(
        self, features: Features, size: tuple[int, int]
    ) -> list[tuple[float, Float[Tensor, "b channels H W"]]]:
        """What a loss is taken of, each with its weight: what it predicts, then what there is for
        training alone."""
        return [(1.0, self(features, size))]


# A kind of head, called with (encoder, channels); partial(DPTHead, readout="add") has options.
HeadMaker = Callable[..., Head]


def only_depth(head: str, channels: int) -> None:
    """Raise ConfigurationError where a head that can say but one number a pixel is to say more."""
    if channels != 1:
        raise ConfigurationError(
            f"the head {head} reads depth, one number a pixel, and not {channels}: take another, "
            "as upernet; see 'sgmim list heads'"
        )
