"""Which parts of an image stay hidden from the encoder.

A mask is a boolean grid, one cell a patch, and is named for the cells it marks: `hidden` or
`visible`. It is drawn in squares of several patches, equally many hidden in every image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sgmim import draws
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError


@dataclass(frozen=True)
class Part:
    """A part of every image: whole squares, equally many in each."""

    marked: Bool[Tensor, "b rows columns"]  # the squares that belong to it
    size: int  # pixels a side of one square
    squares: Int[Tensor, "b k"]  # the same squares by their place, row by row
    cells: Int[Tensor, "b m"]  # its cells of the feature map, square by square, by their place

    def at(self, stride: int) -> Bool[Tensor, "b h w"]:
        """The cells of `stride` pixels that belong to it."""
        return refine(self.marked, self.size // stride)


class RandomMask:
    """Hides `ratio` of an image, in squares picked at random.

    Args:
        encoder: whose patches are hidden.
        ratio: share of the squares that is hidden, rounded up.
        size: pixels a side of one square; if not given, one patch, as MAE hides them.
        round_up: hide rather more than the share than less, as all but CroCo do.

    Raises:
        ConfigurationError: the squares do not tile the image, or are not whole patches.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        ratio: float = 0.6,
        size: int | None = 32,
        round_up: bool = True,
    ):
        height, width = encoder.image_size
        size = encoder.patch if size is None else size
        if not 0 < ratio < 1:
            raise ConfigurationError(f"a mask ratio lies between 0 and 1, and is not {ratio}")
        if size <= 0 or height % size or width % size or size % encoder.patch:
            fitting = fitting_sizes(encoder)
            near = min(fitting, key=lambda other: abs(other - size), default=encoder.patch)
            raise ConfigurationError(
                f"squares of {size} pixels do not tile {height} x {width} images of "
                f"{encoder.patch}-pixel patches: the nearest size that does is {near}"
            )
        self.size = size
        self.stride = encoder.stride
        self.unit = size // encoder.patch  # patches a side of one square
        self.rows, self.columns = height // size, width // size
        self.count = count_hidden(self.squares, ratio, round_up=round_up)

    @property
    def squares(self) -> int:
        return self.rows * self.columns

    def __call__(self, keys: Int[Tensor, " b"], stream: int = 0) -> Bool[Tensor, "b h w"]:
        """Hidden patches; an image's depend on its key alone, another stream is another draw."""
        rank = draws.order(keys, self.squares, stream).argsort(dim=1)
        hidden = (rank < self.count).unflatten(1, (self.rows, self.columns))
        return refine(hidden, self.unit)

    def part(self, patches: Bool[Tensor, "b h w"], count: int | None = None) -> Part:
        """The part of an image that some patches make up, of `count` squares: as many as are hidden
        unless told. Looking the number up would make the GPU wait.

        Where squares are smaller than the cells of the feature map, its cells are all there are.
        """
        marked = patches[:, :: self.unit, :: self.unit]
        ranked = marked.flatten(1).byte().sort(dim=1, descending=True, stable=True).indices
        squares = ranked[:, : self.count if count is None else count]
        return Part(marked, self.size, squares, self._cells(squares))

    def cells(self, hidden: Bool[Tensor, "b h w"]) -> tuple[Int[Tensor, "b m"], Int[Tensor, "b k"]]:
        """The cells of the feature map that are seen, and those that are hidden, by their place:
        what an encoder that leaves patches out is given, and what is painted."""
        marked = hidden[:, :: self.unit, :: self.unit].flatten(1)
        ranked = marked.byte().sort(dim=1, stable=True).indices
        seen, rest = ranked.split([self.squares - self.count, self.count], dim=1)
        return self._cells(seen), self._cells(rest)

    def rest(self, part: Part) -> Part:
        """All that does not belong to a part."""
        left = self.squares - part.squares.shape[1]
        return self.part(~part.at(self.size // self.unit), left)

    def dealt(
        self, part: Part, portions: Sequence[float], keys: Int[Tensor, " b"], stream: int
    ) -> list[Part]:
        """The squares of a part dealt out at random, in these portions; whose they are depends on
        an image's key alone."""
        count = part.squares.shape[1]
        shuffled = part.squares.gather(1, draws.order(keys, count, stream))
        return [self._of(some) for some in shuffled.split(apportioned(count, portions), dim=1)]

    def check_cells(self) -> None:
        """Raise ConfigurationError where squares cut the cells of the feature map."""
        if self.size % self.stride:
            near = self.stride * max(1, round(self.size / self.stride))
            raise ConfigurationError(
                f"squares of {self.size} pixels cut the cells of {self.stride} pixels that are "
                f"guided: the nearest mask_size is {near}"
            )

    def _of(self, squares: Int[Tensor, "b k"]) -> Part:
        squares = squares.sort(dim=1).values
        marked = torch.zeros(len(squares), self.squares, dtype=torch.bool, device=squares.device)
        marked = marked.scatter(1, squares, True).unflatten(1, (self.rows, self.columns))
        return Part(marked, self.size, squares, self._cells(squares))

    def _cells(self, squares: Int[Tensor, "b k"]) -> Int[Tensor, "b m"]:
        if self.size % self.stride:
            cells = self.squares * self.size**2 // self.stride**2
            return torch.arange(cells, device=squares.device).expand(len(squares), -1)
        side = self.size // self.stride  # cells a side of one square
        down, across = torch.meshgrid(
            *(torch.arange(side, device=squares.device),) * 2, indexing="ij"
        )
        corner = squares // self.columns * side * (self.columns * side)
        corner = corner + squares % self.columns * side
        inside = down * (self.columns * side) + across
        return (corner[..., None] + inside.flatten()).flatten(1)


def keys(batch: dict[str, Tensor]) -> Int[Tensor, " b"]:
    """What every image of a batch draws its masks from; new ones where the data gives none."""
    if "key" in batch:
        return batch["key"]
    image = batch["image"]
    return torch.randint(2**62, (len(image),), device=image.device)


def count_hidden(squares: int, ratio: float, *, round_up: bool = True) -> int:
    """Squares hidden of so many: rounded up, as the authors do (22 of 36; MAE keeps the rest,
    rounded down), but not by the error of binary fractions (0.55 of 100 is 55)."""
    return ceil(squares * ratio - 1e-9) if round_up else int(squares * ratio + 1e-9)


def apportioned(squares: int, portions: Sequence[float]) -> list[int]:
    """So many squares dealt out in these portions, as nearly as whole numbers are, to each at least
    one.

    Raises:
        ConfigurationError: there are too few, or a portion is not above 0.
    """
    if min(portions) <= 0:
        raise ConfigurationError(f"portions of squares are above 0, and not {list(portions)}")
    exact = [squares * portion / sum(portions) for portion in portions]
    counts = [int(count) for count in exact]
    behind = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in behind[: squares - sum(counts)]:
        counts[place] += 1
    if min(counts) < 1:
        raise ConfigurationError(
            f"{squares} squares in portions {list(portions)} are {counts}, but each takes one"
        )
    return counts


def fitting_sizes(encoder: Encoder) -> list[int]:
    """Sizes of squares, in pixels, that are whole patches and tile the image."""
    height, width = encoder.image_size
    sizes = range(encoder.patch, min(height, width) // 2 + 1, encoder.patch)
    return [size for size in sizes if height % size == 0 and width % size == 0]


def refine(mask: Bool[Tensor, "b h w"], times: int) -> Bool[Tensor, "b H W"]:
    """The same mask on a grid of cells `times` finer."""
    return mask.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)


def only(
    values: Float[Tensor, "b c H W"], where: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b c H W"]:
    """The values where some patches are, nothing (NaN) elsewhere."""
    return values.where(refine(where, values.shape[2] // where.shape[1])[:, None], torch.nan)
