"""How figures look: one style for all, to be printed in a paper's column or across its page."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgmim.files import write_bytes

COLUMN, PAGE = 3.25, 6.875  # inches wide, as in the proceedings of CVPR

# told apart by the color-blind (Okabe and Ito, 2008); in print markers and dashes tell them apart
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
DEPTH = "viridis"  # from the first layer to the last, and of heat maps

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "figure.titlesize": 8,
    "figure.constrained_layout.use": True,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # fonts go into the file, as text that can be searched
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """In here figures are drawn and saved as they should look, whatever a user's own settings."""
    usual: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    usual.pop("backend")  # a window system: none is opened
    with matplotlib.rc_context(usual | STYLE):
        yield


def marked(number: int) -> dict[str, Any]:
    """The color, the marker and the dashes of the curve of one of several subjects."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """Colors from the first layer to the last, all dark enough for a white page."""
    table = matplotlib.colormaps[DEPTH]
    return [table(0.9 * number / max(count - 1, 1)) for number in range(count)]


def thinned(labels: Sequence[str], most: int) -> list[str]:
    """No more labels than there is room for, evenly spaced; the others are left empty."""
    step = -(-len(labels) // most)
    return [label if place % step == 0 else "" for place, label in enumerate(labels)]


def legend(figure: Any, axes: Axes, names: Sequence[str]) -> None:
    """Who is who, above a figure (or part of one) that shows more than one subject."""
    if len(names) > 1:
        handles, labels = axes.get_legend_handles_labels()
        columns = min(len(names), 4)
        figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and as PDF, always the same bytes.

    Args:
        figure: drawn within `style`.
        path: without a suffix.

    Raises:
        FileError: it cannot be written.
    """
    for suffix, told in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        written = io.BytesIO()
        with style():
            figure.savefig(written, format=suffix, metadata=told)
        write_bytes(path.with_name(f"{path.name}.{suffix}"), written.getvalue())
