"""What a self-attention does to tokens: where they are before it, and where after.

Park et al., "What Do Self-Supervised Vision Transformers Learn?" (2023), figure 4; KAMIM, section
5 (its file speaks of t-SNE, but these are principal components). Contrastive learning moves all
tokens of an image alike; masked image modeling moves each its own way.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure, planes
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.planes import Belonging
from sgmim.encoders import Encoder
from sgmim.encoders.attention import of_block
from sgmim.objective import Batch

PANELS = {"one image": 1, "two images": 2, "all images": None}  # and how many images each shows
STATES: dict[str, dict[str, Any]] = {  # rings and dots
    "before": {"facecolors": "none", "linewidths": 0.4, "alpha": 0.6, "s": 6},
    "after": {"linewidths": 0, "alpha": 0.8, "s": 5},
}


class Transformation(Analysis):
    """Self-attention as a transformation: tokens before and after it, on their principal plane.

    Args:
        block: counted from 1; the last if not given.
        color: of all images together: by image; or by label, where the data has labels.
    """

    title = "Self-attention as a transformation"
    images = 16

    def __init__(self, *, block: int | None = None, color: Belonging = "image"):
        self.block, self.color = block, color
        self.needs = ("image",) if color == "image" else ("image", "label")

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        images, groups = planes.gathered(batches, self.color)
        found = [self._tokens(subject.encoder, image) for image in images]
        before, after = (torch.cat(tokens) for tokens in zip(*found, strict=True))  # (i, n, d)
        rows: list[Row] = []
        for panel, count in PANELS.items():
            both = torch.stack([before[:count], after[:count]])  # (2, i, n, d)
            plane = planes.components(both.flatten(0, 2).cpu().numpy()).reshape(*both.shape[:3], 2)
            rows += _rows(panel, plane, groups.tolist(), self.color)
        return Findings(
            {
                "variance between images, before": planes.between(before),
                "variance between images, after": planes.between(after),
            },
            rows,
        )

    def _tokens(
        self, encoder: Encoder, image: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
        of = of_block(encoder, image, self.block)
        return of.in_order(of.before).float(), of.in_order(of.after).float()

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """A row a subject: tokens of one image, of two with their means, of all. Rings are tokens
        before attention, dots after it; an arrow leads from the mean of an image to the other."""
        sheet = Figure(figsize=(figure.PAGE, 1.8 * len(findings) + 0.4))
        cells = sheet.subplots(len(findings), len(PANELS), squeeze=False)
        for row, (name, found) in zip(cells, findings.items(), strict=True):
            for axes, panel in zip(row, PANELS, strict=True):
                rows = [each for each in found.rows if each["panel"] == panel]
                _draw_panel(axes, rows, self.color if panel == "all images" else "image")
                if panel == "two images":
                    _draw_moves(axes, rows)
                planes.bare(axes)
            row[0].set_ylabel(name, weight="bold")
        for axes, panel in zip(cells[0], PANELS, strict=True):
            axes.set_title(panel)
        sheet.legend(*cells[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return sheet


def _rows(
    panel: str, plane: Float[np.ndarray, "2 i n 2"], groups: Sequence[int], color: Belonging
) -> list[Row]:
    """Images are counted from 1; labels are the data's."""
    return [
        {"panel": panel, "image": image + 1, color: groups[image], "state": state, "x": x, "y": y}
        for state, images in zip(STATES, plane.round(4).tolist(), strict=True)
        for image, tokens in enumerate(images)
        for x, y in tokens
    ]


def _draw_panel(axes: Axes, rows: Sequence[Row], by: str) -> None:
    colors = planes.colors_of([int(row[by]) for row in rows])
    for state, kind in STATES.items():
        here = [row for row in rows if row["state"] == state]
        shades = [colors[int(row[by])] for row in here]
        x, y = _places(here)
        drawn = axes.scatter(x, y, label=f"{state} attention", rasterized=True, **kind)
        drawn.set_edgecolor(shades)
        if state == "after":
            drawn.set_facecolor(shades)


def _draw_moves(axes: Axes, rows: Sequence[Row]) -> None:
    """An arrow for each image, between the means of its tokens."""
    for image in sorted({int(row["image"]) for row in rows}):
        own = [row for row in rows if row["image"] == image]
        start, end = (
            np.mean(_places([row for row in own if row["state"] == state]), axis=1)
            for state in STATES
        )
        arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.2}
        axes.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=arrow)


def _places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [float(row["x"]) for row in rows], [float(row["y"]) for row in rows]
