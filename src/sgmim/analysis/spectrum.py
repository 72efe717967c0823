"""How fine is what the features of each layer tell apart: their Fourier spectrum.

Park and Kim, "How Do Vision Transformers Work?" (2022); Park et al., "What Do Self-Supervised
Vision Transformers Learn?" (2023), whose code this agrees with; SG-MIM, figure 3; KAMIM.

    features (b, d, h, w) --> log |FFT| --> mean over images and channels --> half diagonal

What is told is relative to the zero frequency: delta(f) = log|F(f)| - log|F(0)|, mostly below 0.
The nearer to 0 it is at the highest frequency, the more a layer tells of edges and texture.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, nan
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.layers import chosen, layer_maps
from sgmim.objective import Batch
from sgmim.protocols import by

FAINTEST = 1e-6  # amplitude, added before the logarithm (Park et al.'s code)
PANELS = 3  # side by side
LAYERS = 12  # that a legend has room for

Curve = list[tuple[float, float]]  # (frequency in π, delta)


class Spectrum(Analysis):
    """Fourier spectrum of each layer's features: how much of them is fine detail.

    Args:
        layers: counted from 1; if not given, all blocks of a ViT or stages of a Swin.
        nyquist: add the frequency 1π. Without it the highest is (h - 2) / h π on a grid of an even
            number of h cells, as in Park et al.'s code: another one in every stage of a Swin.
    """

    title = "Fourier spectrum of features"

    def __init__(self, *, layers: tuple[int, ...] | None = None, nyquist: bool = False):
        self.layers, self.nyquist = layers, nyquist

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        layers = chosen(subject.encoder, self.layers)
        sums: dict[str, Tensor] = {}
        images = 0
        for batch in batches:
            images += len(batch["image"])
            for name, features in layer_maps(subject.encoder, batch["image"], layers).items():
                added = log_amplitudes(features).double() * len(features)
                sums[name] = sums[name] + added if name in sums else added
        rows: list[Row] = [
            {"layer": name, "grid": by(total.shape), "frequency": frequency, "delta": delta}
            for name, total in sums.items()
            for frequency, delta in half_diagonal(total / images, nyquist=self.nyquist)
        ]
        # the last row of each layer; a map of 2 x 2 cells has no frequency but 0 (and 1π)
        ends = [row for row in {row["layer"]: row for row in rows}.values() if row["frequency"]]
        told = {f"{end['layer']} at {end['frequency']:.3g}π": float(end["delta"]) for end in ends}
        few = list(told)[:1] + list(told)[-1:]
        return Findings({name: told[name] for name in few}, rows)

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """On the left the highest frequency of every layer; beside it all frequencies, subject by
        subject. Curves on different grids say nothing about each other: subjects whose layers lie
        on other grids are drawn below, on axes of their own."""
        families: dict[tuple[str, ...], dict[str, dict[str, Curve]]] = {}
        for name, found in findings.items():
            layers = _curves(found.rows)
            families.setdefault(tuple(layers), {})[name] = layers
        heights = [-(-len(family) // PANELS) for family in families.values()]
        sheet = Figure(figsize=(figure.PAGE, 2.1 * sum(heights)))
        parts = sheet.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        places = {name: place for place, name in enumerate(findings)}
        for part, family in zip(parts, families.values(), strict=True):
            _draw_family(part, family, places)
        return sheet


def log_amplitudes(features: Float[Tensor, "b d h w"]) -> Float[Tensor, "h w"]:
    """Logarithm of the amplitudes of a map's spectrum, mean over images and channels; the zero
    frequency stands at (h // 2, w // 2)."""
    amplitudes = torch.fft.fft2(features.float()).abs()
    return torch.fft.fftshift((amplitudes + FAINTEST).log().mean(dim=(0, 1)))


def half_diagonal(amplitudes: Float[Tensor, "h w"], *, nyquist: bool = False) -> Curve:
    """Frequencies in π, and log amplitudes relative to frequency 0, from the middle of a spectrum
    to its corner.

    Where the grid is not square, the diagonal runs where both directions have the same frequency,
    between bins by bilinear interpolation, in as many steps as the shorter side has bins.
    """
    height, width = amplitudes.shape
    short, known = min(height, width), amplitudes.double().cpu()
    frequencies = [2 * step / short for step in range((short + 1) // 2)] + [1.0] * nyquist
    values = [
        _between(known, height // 2 + f * height / 2, width // 2 + f * width / 2)
        for f in frequencies
    ]
    return [(f, value - values[0]) for f, value in zip(frequencies, values, strict=True)]


def _between(table: Float[Tensor, "h w"], row: float, column: float) -> float:
    """The value at any place of a table, which goes on beyond its end as it began: a spectrum is
    periodic, and its highest frequency stands at its beginning."""
    height, width = table.shape
    top, left = floor(row), floor(column)
    down, right = row - top, column - left
    rows, columns = [top % height, (top + 1) % height], [left % width, (left + 1) % width]
    weights = torch.outer(table.new_tensor([1 - down, down]), table.new_tensor([1 - right, right]))
    return float((table[rows][:, columns] * weights).sum())


def _curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """The curve of every layer, by its name and grid."""
    curves: dict[str, Curve] = {}
    for row in rows:
        point = float(row["frequency"]), float(row["delta"])
        curves.setdefault(f"{row['layer']} ({row['grid']})", []).append(point)
    return curves


def _draw_family(part: Any, family: dict[str, dict[str, Curve]], places: dict[str, int]) -> None:
    """Subjects of the same layers on the same grids."""
    down = -(-len(family) // PANELS)
    across = -(-len(family) // down)
    cells = part.subplots(down, 1 + across, sharey=True, squeeze=False)
    for axes in cells.flat:
        axes.set_visible(False)
    _draw_depth(cells[0, 0], family, places)
    for number, (name, curves) in enumerate(family.items()):
        row, column = divmod(number, across)
        axes = cells[row, 1 + column]
        _draw_spectrum(axes, name, curves)
        axes.tick_params(labelleft=column == 0 and row > 0)
    handles, names = cells[0, 1].get_legend_handles_labels()
    step = -(-len(names) // LAYERS)
    part.legend(handles[::step], names[::step], loc="outside right upper", handlelength=1.2)
    figure.legend(part, cells[0, 0], list(family))


def _draw_depth(axes: Axes, family: dict[str, dict[str, Curve]], places: dict[str, int]) -> None:
    """The last entry of every curve. Stages of a Swin are not joined by a line: each has a grid and
    a highest frequency of its own."""
    axes.set_visible(True)
    layers = next(iter(family.values()))
    highest = [curve[-1][0] for curve in layers.values()]
    is_alike = len({layer.partition("(")[2] for layer in layers}) == 1
    for name, curves in family.items():
        ends = [curve[-1][1] if curve[-1][0] else nan for curve in curves.values()]
        looks = figure.marked(places[name]) | ({} if is_alike else {"linestyle": "none"})
        axes.plot(range(1, len(ends) + 1), ends, label=name, **looks)
    kind = next(iter(layers)).split()[0]
    at = f"{highest[0]:.3g}π" if len(set(highest)) == 1 else "its highest frequency"
    numbers = [layer.split()[1] for layer in layers]
    if len(set(highest)) > 1:
        numbers = [f"{n}\n{f:.3g}π" for n, f in zip(numbers, highest, strict=True)]
    axes.set_xticks(range(1, len(layers) + 1), figure.thinned(numbers, 6))
    axes.set(title=f"Each {kind} at {at}", xlabel=kind, ylabel="Δ log amplitude")


def _draw_spectrum(axes: Axes, name: str, curves: dict[str, Curve]) -> None:
    axes.set_visible(True)
    for (layer, curve), color in zip(curves.items(), figure.shades(len(curves)), strict=True):
        frequencies, deltas = zip(*curve, strict=True)
        axes.plot(frequencies, deltas, color=color, label=layer, marker="o", markersize=2)
    axes.set(title=name, xlabel="frequency / π", xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
