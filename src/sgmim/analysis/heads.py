"""Numbers of every head of every block: gathered over images, drawn beside those of others."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure
from sgmim.analysis.base import Findings, Row
from sgmim.encoders import Encoder
from sgmim.encoders.attention import Attention, attention
from sgmim.objective import Batch
from sgmim.protocols import by

ACROSS = 5  # panels side by side
UNIFORM = "{}, uniform"  # the column of what attention has that is alike everywhere

Measure = Callable[[Attention], Float[Tensor, "b heads"]]


def measured(encoder: Encoder, batches: Iterable[Batch], measure: Measure, name: str) -> list[Row]:
    """A row a head, its block and itself counted from 1: the mean over images under `name`, and
    what a head would have that looks everywhere alike that it may."""
    alike = UNIFORM.format(name)
    sums: list[Tensor] = []
    known: list[tuple[str, float]] = []  # of each block: its grid, what uniform attention has
    images = 0
    for batch in batches:
        images += len(batch["image"])
        for number, of in enumerate(attention(encoder, batch["image"])):
            found = measure(of).double().sum(dim=0)
            if number == len(sums):
                sums.append(torch.zeros_like(found))
                known.append((by(of.grid), float(measure(of.uniform()))))
            sums[number] += found
    return [
        {"block": block, "head": head, "grid": grid, name: value / images, alike: uniform}
        for block, (total, (grid, uniform)) in enumerate(zip(sums, known, strict=True), 1)
        for head, value in enumerate(total.tolist(), 1)
    ]


def mean(rows: Sequence[Row], name: str) -> float:
    """Over all blocks, each of which is the mean of its heads."""
    means = [value for _, value in _by_block(rows, name)]
    return sum(means) / len(means)


def draw(findings: Mapping[str, Findings], name: str, label: str) -> Figure:
    """A panel a subject: its heads as dots, their means as a line, behind them the means of those
    that have as many blocks; a bar in each block is what uniform attention has.

    Args:
        findings: with rows as they are `measured`.
        name: of the column that is drawn.
        label: of the axis.
    """
    across = min(len(findings), ACROSS)
    down = -(-len(findings) // across)
    sheet = Figure(figsize=(figure.PAGE if across > 2 else figure.COLUMN * across, 2.2 * down))
    cells = sheet.subplots(down, across, sharey=True, squeeze=False)
    for axes in cells.flat[len(findings) :]:
        axes.set_visible(False)
    means = {subject: _by_block(found.rows, name) for subject, found in findings.items()}
    for place, (subject, found) in enumerate(findings.items()):
        axes = cells.flat[place]
        others = [line for other, line in means.items() if other != subject]
        color = figure.marked(place)["color"]
        _draw_heads(axes, found.rows, name, color)
        _draw_others(axes, [line for line in others if len(line) == len(means[subject])])
        axes.set_title(subject, color=color, weight="bold")
        axes.set(xlabel="block", ylabel=label if place % across == 0 else "")
    first = cells.flat[0]
    first.set_ylim(bottom=0)
    handles, names = first.get_legend_handles_labels()
    sheet.legend(handles, names, loc="outside lower center", ncols=len(names))
    return sheet


def _draw_heads(axes: Axes, rows: Sequence[Row], name: str, color: str) -> None:
    blocks, values = [int(row["block"]) for row in rows], [float(row[name]) for row in rows]
    axes.scatter(blocks, values, s=7, color=color, alpha=0.55, linewidths=0, label="a head")
    across, means = zip(*_by_block(rows, name), strict=True)
    axes.plot(across, means, color=color, label="mean of heads", zorder=3)
    _, uniform = zip(*_by_block(rows, UNIFORM.format(name)), strict=True)
    ends = [block - 0.35 for block in across], [block + 0.35 for block in across]
    axes.hlines(uniform, *ends, color="#444444", linewidth=0.9, label="uniform attention")
    axes.set_xticks(range(1, len(across) + 1, -(-len(across) // 8)))


def _draw_others(axes: Axes, lines: Sequence[Sequence[tuple[int, float]]]) -> None:
    for number, line in enumerate(lines):
        across, means = zip(*line, strict=True)
        label = "_" if number else "means of the others"
        axes.plot(across, means, color="#bbbbbb", linewidth=0.8, label=label, zorder=1)


def _by_block(rows: Sequence[Row], name: str) -> list[tuple[int, float]]:
    """The mean of the heads of each block."""
    heads: dict[int, list[float]] = {}
    for row in rows:
        heads.setdefault(int(row["block"]), []).append(float(row[name]))
    return [(block, sum(values) / len(values)) for block, values in heads.items()]
