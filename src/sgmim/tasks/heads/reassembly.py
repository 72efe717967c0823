"""Tokens put together as maps of four strides: DPT's reassemble operation.

"Vision Transformers for Dense Prediction" (Ranftl et al., 2021, arXiv:2103.13413), section 3 and
equations 2 to 6.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.base import Features

Readout = Literal["ignore", "add", "project"]


class Reassemble(nn.Module):
    """Maps of a quarter, half, once and twice the stride of a ViT's patches, from four blocks."""

    levels: tuple[int, ...]  # of the encoder's pyramid, which it is given
    widths: tuple[int, ...]  # channels of the maps it makes

    def __init__(
        self,
        encoder: Encoder,
        readout: Readout,
        widths: tuple[int, ...] | None,
        blocks: tuple[int, ...] | None,
    ):
        super().__init__()
        dim = encoder.dim
        self.levels = encoder.levels(blocks)
        self.widths = (dim // 8, dim // 4, dim // 2, dim) if widths is None else widths
        for option, values in {"blocks": self.levels, "widths": self.widths}.items():
            if len(values) != 4:
                raise ConfigurationError(f"DPT has four {option}, not {len(values)}: {values}")
        projecting = readout == "project"
        self.read = nn.ModuleList([Projection(dim) for _ in self.levels] if projecting else [])
        self.narrow = nn.ModuleList([nn.Conv2d(dim, width, 1) for width in self.widths])
        fourth, half, _, twice = self.widths
        self.scale = nn.ModuleList(
            [
                nn.ConvTranspose2d(fourth, fourth, 4, stride=4),
                nn.ConvTranspose2d(half, half, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(twice, twice, 3, stride=2, padding=1),
            ]
        )

    def forward(self, features: Features) -> Features:
        """From the maps of the levels, after which may come the class token of each, as a map of
        one cell."""
        maps, classes = features[:4], features[4:]
        if self.read:
            maps = [read(*seen) for read, *seen in zip(self.read, maps, classes, strict=True)]
        elif classes:
            maps = [map + token for map, token in zip(maps, classes, strict=True)]
        parts = zip(self.scale, self.narrow, maps, strict=True)
        return [scale(narrow(map)) for scale, narrow, map in parts]


class Projection(nn.Module):
    """Every token together with the class token: a linear layer of both, and GELU."""

    def __init__(self, dim: int):
        super().__init__()
        self.both = nn.Linear(2 * dim, dim)

    def forward(
        self, map: Float[Tensor, "b d h w"], token: Float[Tensor, "b d 1 1"]
    ) -> Float[Tensor, "b d h w"]:
        # the class token's part is the same for all tokens, so it is computed once
        of_map, of_token = self.both.weight.chunk(2, dim=1)
        tokens = F.linear(map.movedim(1, -1), of_map)
        whole = F.linear(token.movedim(1, -1), of_token, self.both.bias)
        return F.gelu(tokens + whole).movedim(-1, 1)
