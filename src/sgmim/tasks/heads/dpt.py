"""DPT: maps of four strides made of a ViT's tokens, fused from coarse to fine.

"Vision Transformers for Dense Prediction" (Ranftl et al., 2021, arXiv:2103.13413); MultiMAE, CroCo
and SG-MIM report NYU-v2 with it. Its grids need not be square, and it takes the stages of a Swin as
they are.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.base import Features, Head
from sgmim.tasks.heads.convolutions import BatchNorm, last_layer, resize
from sgmim.tasks.heads.neck import Neck
from sgmim.tasks.heads.reassembly import Readout, Reassemble

Output = Literal["value", "classes"]


class DPTHead(Head):
    """DPT, on the tokens of a ViT or the stages of a Swin."""

    def __init__(
        self,
        encoder: Encoder,
        channels: int = 1,
        *,
        readout: Readout = "ignore",
        width: int = 256,
        widths: tuple[int, ...] | None = None,
        output: Output | None = None,
        batch_norm: bool | None = None,
        dropout: float = 0.1,
        blocks: tuple[int, ...] | None = None,
    ):
        """
        Args:
            encoder: whose tokens it reads.
            channels: numbers a pixel.
            readout: what becomes of a ViT's class token: "ignore", "add" to every token, or
                "project" together with every token.
            width: channels of the maps as they are fused.
            widths: channels of the maps made of a ViT's tokens, the finest first; by default an
                eighth, a quarter, half and all of its own, which are 96, 192, 384, 768 of ViT-B.
            output: what the last layers are made for: a "value", as depth, or "classes"; by default
                as there are one or several channels.
            batch_norm: normalize while fusing; by default with "classes".
            dropout: share of the numbers that training leaves out before the classes.
            blocks: four of a ViT, counted from 0; by default 2, 5, 8 and 11 of twelve.

        Raises:
            ConfigurationError: a readout, widths or blocks that the encoder cannot have.
        """
        super().__init__(encoder, channels)
        output = output or ("value" if channels == 1 else "classes")
        normed = output == "classes" if batch_norm is None else batch_norm
        if readout != "ignore" and not encoder.has_class_token:
            raise ConfigurationError(
                f"{encoder.name} has no class token to {readout}: leave readout at 'ignore'"
            )
        self.maps = maps_of(encoder, readout, widths, blocks)
        self.levels, self.reads_class = self.maps.levels, readout != "ignore"
        self.enter = nn.ModuleList(
            [nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim in self.maps.widths]
        )
        top = len(self.maps.widths) - 1
        self.fuse = nn.ModuleList(
            [Fusion(width, normed, is_top=level == top) for level in range(top + 1)]
        )
        if output == "value":
            self.before, self.after = for_a_value(width, channels)
        else:
            self.before, self.after = for_classes(width, channels, dropout)

    def look(self, encoder: Encoder, image: Float[Tensor, "b c H W"]) -> Features:
        """The maps of its levels; where it reads the class token, then that of each level."""
        if not self.reads_class:
            return super().look(encoder, image)
        maps, classes = encoder.pyramid_with_class(image, self.levels)
        return maps + classes

    def forward(self, features: Features, size: tuple[int, int]) -> Float[Tensor, "b _ H W"]:
        """See `Head`."""
        return self.after(resize(self.before(self.decode(features)), size, corners=True))

    def decode(self, features: Features) -> Float[Tensor, "b width h w"]:
        """One map, twice as fine as the finest that is fused."""
        maps = [enter(map) for enter, map in zip(self.enter, self.maps(features), strict=True)]
        height, width = maps[0].shape[2:]
        onto = [(2 * height, 2 * width), *(map.shape[2:] for map in maps[:-1])]
        *finer, (fuse, top, size) = zip(self.fuse, maps, onto, strict=True)
        fused = fuse(top, None, size)
        for fuse, map, size in reversed(finer):
            fused = fuse(map, fused, size)
        return fused


def maps_of(
    encoder: Encoder,
    readout: Readout,
    widths: tuple[int, ...] | None,
    blocks: tuple[int, ...] | None,
) -> Reassemble | Neck:
    """What makes maps of what an encoder shows: a Swin's are there."""
    if encoder.is_plain:
        return Reassemble(encoder, readout, widths, blocks)
    if widths is not None:
        raise ConfigurationError(f"the maps of {encoder.name} have widths: leave 'widths' out")
    return Neck(encoder, blocks=blocks)


class Fusion(nn.Module):
    """A map put together with what came of the coarser ones, refined and enlarged."""

    def __init__(self, width: int, normed: bool, *, is_top: bool):
        super().__init__()
        self.skip = None if is_top else Residual(width, normed)  # on top there is nothing coarser
        self.refine = Residual(width, normed)
        self.project = nn.Conv2d(width, width, 1)

    def forward(
        self,
        map: Float[Tensor, "b width h w"],
        coarser: Float[Tensor, "b width h w"] | None,
        size: tuple[int, int],
    ) -> Float[Tensor, "b width _ _"]:
        if self.skip is not None and coarser is not None:
            map = coarser + self.skip(map)
        # the authors enlarge before they project, which is the same on four times the cells
        return resize(self.project(self.refine(map)), size, corners=True)


class Residual(nn.Sequential):
    """What two convolutions, each after a ReLU, add to a map."""

    def __init__(self, width: int, normed: bool):
        layers = []
        for _ in range(2):
            convolve = nn.Conv2d(width, width, 3, padding=1, bias=not normed)
            layers += [nn.ReLU(), convolve, *([BatchNorm(width)] if normed else [])]
        super().__init__(*layers)

    def forward(self, map: Float[Tensor, "b width h w"]) -> Float[Tensor, "b width h w"]:
        return map + super().forward(map)


def for_a_value(width: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """The last layers before and after the map is brought to the image's size."""
    before = nn.Conv2d(width, width // 2, 3, padding=1)
    convolve = nn.Conv2d(width // 2, 32, 3, padding=1)
    return before, nn.Sequential(convolve, nn.ReLU(), last_layer(32, channels))


def for_classes(width: int, channels: int, dropout: float) -> tuple[nn.Module, nn.Module]:
    """The same, of which nothing is left to do at the image's size."""
    before = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        BatchNorm(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        last_layer(width, channels),
    )
    return before, nn.Identity()
