"""Features of a structured map, one token a cell of the encoder's feature map (paper, "Relational
Guidance Framework" and Table 5).

Every extractor is shown a part of the map and says what it makes of the cells of that part; asked
to keep the rest, it appends what it makes of cells whose content is hidden. None looks at what is
hidden: a test changes it and finds the same features. What is unknown (NaN) is 0 to them.
"""

from math import inf, log2
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.encoders.plain import PlainEncoder
from sgmim.errors import ConfigurationError
from sgmim.layers import mask_token, patches, take, tokens
from sgmim.masking import Part

Map = Float[Tensor, "b c H W"]
Features = Float[Tensor, "b m d"]


class Pointwise(nn.Module):
    """Embed patches, then merge them two by two, with no look across the edge of a cell: the
    paper's shallow MLP, after PointNet.

    "patch_merge", the authors' first commit, is LayerNorm and Linear alone. "mlp" adds residual
    MLPs before every merge (a ViT merges nothing and has two). As no token sees another but in a
    merge, only the part that is shown is computed.

    Args:
        encoder: gives the grid, the widths (each merge doubles them) and the stride.
        channels: of the map.
        mlp_ratio: hidden width of the residual MLPs over their width; 0 leaves them out. One
            eighth keeps the whole guidance below 4 % of a step, and is no less than the 16 numbers
            that a 4-pixel patch of depth has.

    Raises:
        ConfigurationError: a ratio below 0.
    """

    def __init__(self, encoder: Encoder, channels: int, *, mlp_ratio: float = 0.125):
        super().__init__()
        if not 0 <= mlp_ratio < inf:
            raise ConfigurationError(
                f"mlp_ratio is 0, which leaves the extractor's MLPs out, or more, not {mlp_ratio}"
            )
        merges = int(log2(encoder.stride // encoder.patch))
        widths = [encoder.patch_dim * 2**i for i in range(merges + 1)]
        self.embed = nn.Conv2d(channels, widths[0], encoder.patch, encoder.patch)
        self.norm = nn.LayerNorm(widths[0])
        stages: list[nn.Module] = []
        for width in widths[:-1]:
            stages += [ResidualMLP(width, mlp_ratio)] * bool(mlp_ratio) + [Merge(width)]
        if not merges and mlp_ratio:
            stages += [ResidualMLP(widths[0], mlp_ratio) for _ in range(2)]
        self.stages = nn.Sequential(*stages)

    def forward(
        self, knowledge: Map, seen: Part, hidden: Part | None, encoder: Encoder
    ) -> Features:
        squares = take(patches(knowledge, seen.size), seen.squares)  # (b, k, c * size * size)
        squares = squares.nan_to_num().flatten(0, 1).unflatten(1, (-1, seen.size, seen.size))
        embedded = self.norm(self.embed(squares).movedim(1, -1))  # (b * k, h, w, d)
        features = self.stages(embedded).unflatten(0, seen.squares.shape).flatten(1, 3)
        if hidden is None:
            return features
        # the authors set hidden patches to 0 here: all their cells come out the same
        blank = self.stages(torch.zeros_like(embedded[:1])).flatten(1, 2)  # (1, cells a square, d)
        blanks = blank.repeat(1, hidden.squares.shape[1], 1).expand(len(features), -1, -1)
        return torch.cat([features, blanks.to(features.dtype)], dim=1)


class Transformer(nn.Module):
    """An encoder of its own for the map, built as the image's (Table 5)."""

    def __init__(self, encoder: Encoder, channels: int, *, keep_hidden: bool):
        super().__init__()
        self.encoder = encoder.another(channels)
        leave_out = encoder.can_leave_out and not keep_hidden
        self.token = None if leave_out else mask_token(encoder.patch_dim)

    def forward(
        self, knowledge: Map, seen: Part, hidden: Part | None, encoder: Encoder
    ) -> Features:
        embedded = self.encoder.embed(knowledge.nan_to_num())
        return _encoded(self.encoder, embedded, self.token, seen, hidden)


class Siamese(nn.Module):
    """The image's own encoder, behind a patch embedding for the map (Table 5): two passes."""

    def __init__(self, encoder: Encoder, channels: int, *, keep_hidden: bool):
        super().__init__()
        self.embed = encoder.another(channels).backbone.get_submodule("patch_embed")
        leave_out = encoder.can_leave_out and not keep_hidden
        self.token = None if leave_out else mask_token(encoder.patch_dim)

    def forward(
        self, knowledge: Map, seen: Part, hidden: Part | None, encoder: Encoder
    ) -> Features:
        height, width = (side // encoder.patch for side in knowledge.shape[2:])
        embedded = self.embed(knowledge.nan_to_num()).reshape(len(knowledge), height, width, -1)
        return _encoded(encoder, embedded, self.token, seen, hidden)


def _encoded(
    encoder: Encoder,
    embedded: Float[Tensor, "b h w e"],
    token: Float[Tensor, " e"] | None,
    seen: Part,
    hidden: Part | None,
) -> Features:
    """What an encoder makes of a map; hidden patches are absent, or a token if they cannot be."""
    if token is None:
        assert isinstance(encoder, PlainEncoder)
        return encoder.trunk_of(embedded, seen.cells)
    shown = embedded.where(seen.at(encoder.patch)[..., None], token.to(embedded.dtype))
    return take(tokens(encoder.trunk(shown)), _places(seen, hidden))


class Convolutional(nn.Module):
    """The authors' later code: a ResNet-18 that is sparse, so that nothing hidden is seen.

    Theirs needs MinkowskiEngine; here hidden cells are set to 0 after every layer, which is the
    same: a sparse convolution takes absent cells for 0 and makes no new ones. Widths 64, 128, 256
    and the encoder's, LayerNorm over channels, GELU; two blocks a stage.
    """

    def __init__(self, encoder: Encoder, channels: int):
        super().__init__()
        self.stem_stride = min(4, encoder.stride)
        halvings = int(log2(encoder.stride // self.stem_stride))
        strides = [1] + [2] * min(3, halvings) + [1] * max(0, 3 - halvings)
        strides[-1] *= 2 ** max(0, halvings - 3)
        widths = [64, 64, 128, 256, encoder.dim]
        self.stem = nn.Conv2d(channels, widths[0], self.stem_stride, self.stem_stride)
        self.norm = ChannelNorm(widths[0])
        self.blocks = nn.ModuleList()
        for stride, before, width in zip(strides, widths, widths[1:], strict=False):
            self.blocks += [Residual(before, width, stride), Residual(width, width, 1)]

    def forward(
        self, knowledge: Map, seen: Part, hidden: Part | None, encoder: Encoder
    ) -> Features:
        stride = self.stem_stride
        x = self.norm(self.stem(knowledge.nan_to_num()))
        x = F.gelu(x) * seen.at(stride)[:, None]
        for block in self.blocks:
            stride *= cast(Residual, block).stride
            x = block(x, seen.at(stride)[:, None])
        return take(tokens(x), _places(seen, hidden))


class OfClasses(nn.Module):
    """Another extractor, which is given numbers for class ids; an unknown pixel is zeros."""

    WIDTH = 16  # numbers for a class

    def __init__(self, classes: int, extractor: nn.Module):
        super().__init__()
        self.embedding = nn.Embedding(classes, self.WIDTH)
        self.extractor = extractor

    def forward(
        self, knowledge: Map, seen: Part, hidden: Part | None, encoder: Encoder
    ) -> Features:
        known = knowledge.isfinite()
        embedded = self.embedding(knowledge.nan_to_num().long()[:, 0]).movedim(-1, 1)
        return self.extractor(embedded * known, seen, hidden, encoder)

    def no_decay(self) -> set[str]:
        return {"embedding.weight"}


class Residual(nn.Module):
    """ResNet's basic block on the cells that are shown."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([ChannelNorm(width), ChannelNorm(width)])
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            shortcut = nn.Conv2d(before, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, ChannelNorm(width))

    def forward(self, x: Float[Tensor, "b c h w"], shown: Tensor) -> Float[Tensor, "b d _ _"]:
        y = F.gelu(self.norms[0](self.first(x))) * shown
        y = self.norms[1](self.second(y)) * shown
        return F.gelu(y + self.shortcut(x) * shown)


class ResidualMLP(nn.Module):
    """x + MLP(LN(x)), cell by cell."""

    def __init__(self, dim: int, ratio: float):
        super().__init__()
        width = max(1, int(dim * ratio))
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim))

    def forward(self, x: Float[Tensor, "n h w d"]) -> Float[Tensor, "n h w d"]:
        return x + self.mlp(self.norm(x))


class Merge(nn.Module):
    """Swin's patch merging: four neighbors (column by column) become one of twice the width."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Float[Tensor, "n h w d"]) -> Float[Tensor, "n _ _ _"]:
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (n, h / 2, 2, w / 2, 2, d)
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every cell of a feature map."""

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _places(seen: Part, hidden: Part | None) -> Int[Tensor, "b m"]:
    return seen.cells if hidden is None else torch.cat([seen.cells, hidden.cells], dim=1)
