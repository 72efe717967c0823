"""Where a point of an image looks: the attention that one token pays to the patches.

DINO (Caron et al., 2021), figure 1, of the class token; KAMIM, section 5, of a point. A point is
the token in whose cell it lies, on the grid that the block itself has (KAMIM's code counts twelve
columns in any model: where there are fourteen that is another point).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from sgmim.analysis import figure
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.data.geometry import unnormalize
from sgmim.encoders.attention import Attention, of_block
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch
from sgmim.protocols import by

COLORS, FRAME = "inferno", "#00e5ff"  # of attention; of the patch that looks
OVER = 0.85  # of a map, how much is attention and how much the image below
OUTSIDE = 0.35  # how bright the image is outside of a window


class AttentionMap(Analysis):
    """Attention maps: where a chosen point of each image looks.

    Args:
        point: how far across and down: shares of the image's sides; pixels if one is above 1.
        of_class: look from the class token instead, as DINO's figures do.
        block: counted from 1; the last if not given.
        head: counted from 1; the mean of all if not given.
    """

    title = "Attention maps"
    images = 4

    def __init__(
        self,
        *,
        point: tuple[float, float] = (0.5, 0.5),
        of_class: bool = False,
        block: int | None = None,
        head: int | None = None,
    ):
        self.point, self.of_class, self.block, self.head = point, of_class, block, head

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        if self.of_class and not subject.encoder.has_class_token:
            raise ConfigurationError(f"{subject.name} has no class token: ask for a --point")
        rows: list[Row] = []
        pictures: dict[str, Tensor] = {}
        for batch in batches:
            of = of_block(subject.encoder, batch["image"], self.block)
            cell = None if self.of_class else cell_at(self.point, of)
            cells, paid = paid_by(of, cell)
            image = unnormalize(batch["image"].float(), subject.normalization).clamp(0, 1)
            for picture, shares in zip(image.cpu(), self._of_head(paid), strict=True):
                name = f"image {len(pictures) + 1}"
                pictures[name] = picture
                rows += _rows(name, of.grid, cells, shares, cell)
        return Findings({"patches looked at": _looked_at(rows)}, rows, pictures)

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """A row an image, beside it what each subject makes of it. From 0 to the largest of each
        map; what lies outside of a Swin's window is dim; the patch that looks is framed."""
        images = next(iter(findings.values())).pictures
        across, down = 1 + len(findings), len(images)
        height, width = next(iter(images.values())).shape[1:]
        side = min(1.2, figure.PAGE / across)  # inches across
        sheet = Figure(figsize=(side * across, side * height / width * down + 0.85))
        cells = sheet.subplots(down, across, squeeze=False)
        for axes in cells.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set(visible=True, color="#bbbbbb")
        for row, (name, picture) in zip(cells, images.items(), strict=True):
            row[0].imshow(picture.permute(1, 2, 0).numpy())
            for axes, found in zip(row[1:], findings.values(), strict=True):
                _draw_map(axes, found, name)
        for axes, name in zip(cells[0], ["image", *findings], strict=True):
            axes.set_title(name)
        bar = sheet.colorbar(
            ScalarMappable(cmap=COLORS),
            ax=cells,
            location="bottom",
            fraction=0.03,
            shrink=0.5,
            aspect=40,
            pad=0.02,
        )
        bar.set_ticks([0, 1], labels=["no attention", "most in the map"])
        bar.outline.set_linewidth(0.4)
        return sheet

    def _of_head(self, paid: Float[Tensor, "b heads m"]) -> Float[Tensor, "b m"]:
        count = paid.shape[1]
        if self.head is None:
            return paid.mean(dim=1)
        if not 1 <= self.head <= count:
            raise ConfigurationError(f"there are heads 1 to {count}, no head {self.head}")
        return paid[:, self.head - 1]


def cell_at(point: tuple[float, float], of: Attention) -> int:
    """The cell of a block's grid, counted row by row, in which a point lies (x across, y down).

    Raises:
        ConfigurationError: it lies outside of the image.
    """
    height, width = (of.stride * side for side in of.grid)
    x, y = point if max(point) > 1 else (point[0] * width, point[1] * height)
    if not (0 <= x <= width and 0 <= y <= height):
        raise ConfigurationError(
            f"{x:g} pixels across and {y:g} down is no point of an image of {width} x {height}"
        )
    row, column = min(int(y) // of.stride, of.grid[0] - 1), min(int(x) // of.stride, of.grid[1] - 1)
    return row * of.grid[1] + column


def paid_by(
    of: Attention, cell: int | None
) -> tuple[Int[Tensor, " m"], Float[Tensor, "b heads m"]]:
    """The attention that a cell pays, or the class token: to which cells, and how much to each."""
    if cell is None:
        return of.cells[0], of.probabilities[:, 0, :, 0, of.prefix :]
    window, place = (of.cells == cell).nonzero()[0].tolist()
    return of.cells[window], of.among_patches[:, window, :, place]


def _rows(
    name: str,
    grid: tuple[int, int],
    cells: Int[Tensor, " m"],
    shares: Float[Tensor, " m"],
    looking: int | None,
) -> list[Row]:
    return [
        {
            "image": name,
            "grid": by(grid),
            "row": cell // grid[1],
            "column": cell % grid[1],
            "attention": share,
            "looking": int(cell == looking),
        }
        for cell, share in zip(cells.tolist(), shares.tolist(), strict=True)
    ]


def _looked_at(rows: list[Row]) -> float:
    """Among how many patches attention is shared out: the exponential of its entropy, the mean
    over images."""
    by_image: dict[Any, list[float]] = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append(float(row["attention"]))
    shares = torch.tensor(list(by_image.values()), dtype=torch.float64)
    shares = shares / shares.sum(dim=1, keepdim=True)
    return float(torch.special.entr(shares).sum(dim=1).exp().mean())


def _draw_map(axes: Axes, found: Findings, name: str) -> None:
    rows = [row for row in found.rows if row["image"] == name]
    height, width = map(int, str(rows[0]["grid"]).split(" x "))
    paid = np.full((height, width), np.nan)
    for row in rows:
        paid[int(row["row"]), int(row["column"])] = row["attention"]
    picture = found.pictures[name]
    axes.imshow(overlaid(picture.numpy(), paid))
    down, across = picture.shape[1] // height, picture.shape[2] // width
    for row in rows:
        if row["looking"]:
            corner = across * int(row["column"]) - 0.5, down * int(row["row"]) - 0.5
            frame: dict[str, Any] = {"fill": False, "edgecolor": FRAME}
            frame["linewidth"] = min(1.0, 10 / width)  # points: cells of a Swin can be tiny
            axes.add_patch(Rectangle(corner, across, down, **frame))


def overlaid(
    picture: Float[np.ndarray, "3 H W"], paid: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "H W 3"]:
    """Attention over a picture without its colors, each patch in one; NaN is outside of a window,
    where the picture is dim."""
    grey = picture.mean(axis=0)[..., None]
    times = picture.shape[1] // paid.shape[0], picture.shape[2] // paid.shape[1]
    large = np.kron(paid, np.ones(times))
    colors = matplotlib.colormaps[COLORS](large / np.nanmax(paid))[..., :3]
    mixed = OVER * colors + (1 - OVER) * grey
    return np.where(np.isnan(large)[..., None], OUTSIDE * grey, mixed)
