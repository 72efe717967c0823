"""Which layers tell the same: linear CKA between the layers of a model, and of two models.

Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations Revisited" (2019),
section 3; over any number of images by minibatches with the unbiased estimator of HSIC: Nguyen,
Raghu and Kornblith, "Do Wide and Deep Networks Learn the Same Things?" (2021).

    features of n images (n, h * w * d) --> inner products (n, n), centered --> cosine with others

1 where two layers tell images apart alike, whatever the rotation and scale of their channels, and 0
where they have nothing to do with each other.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from sgmim.analysis import figure
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.layers import chosen, layer_maps
from sgmim.errors import ConfigurationError, DataError
from sgmim.objective import Batch

FEWEST = 4  # images of a batch: the estimator divides by n (n - 3)
ACROSS = 3  # heat maps side by side


class Similarity(Analysis):
    """Linear CKA of layers, within a model and between models: who tells images apart alike.

    Args:
        layers: counted from 1; if not given, all blocks of a ViT or stages of a Swin.
        pool: what is compared of an image: its "tokens", each at its place, as Raghu et al. (2021)
            do; or their "mean". Models on grids of other sizes can be compared by either.
    """

    title = "Similarity of layers (linear CKA)"

    def __init__(
        self, *, layers: tuple[int, ...] | None = None, pool: Literal["tokens", "mean"] = "tokens"
    ):
        self.layers, self.pool = layers, pool

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        layers = chosen(subject.encoder, self.layers)
        seen: dict[str, list[Tensor]] = {name: [] for name in layers}
        for batch in batches:
            if len(batch["image"]) < FEWEST:
                continue  # the last, of so few images that they tell nothing
            for name, features in layer_maps(subject.encoder, batch["image"], layers).items():
                told = features.mean(dim=(2, 3)) if self.pool == "mean" else features.flatten(1)
                seen[name].append(centered(told).cpu())
        if not any(seen.values()):
            raise DataError(f"CKA is of {FEWEST} images or more in a batch, and there are fewer")
        products = {name: torch.cat(parts) for name, parts in seen.items()}
        rows = _rows(products, products)
        ends = rows[len(layers) - 1]
        neighbors = [float(rows[i * (len(layers) + 1) + 1]["cka"]) for i in range(len(layers) - 1)]
        numbers = {f"{ends['layer']} and {ends['other_layer']}": float(ends["cka"])}
        if neighbors:
            numbers["neighbors, mean"] = sum(neighbors) / len(neighbors)
        return Findings(numbers, rows, kept=products)

    def compare(self, findings: Mapping[str, Findings]) -> list[Row]:
        """Every layer of one with every layer of another."""
        return [
            {"subject": one, "other_subject": other, **row}
            for one, other in combinations(findings, 2)
            for row in _rows(findings[one].kept, findings[other].kept)
        ]

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """A heat map for each model, then one for each two of them."""
        tables = {(name, name): found.rows for name, found in findings.items()}
        for row in self.compare(findings):
            tables.setdefault((str(row["subject"]), str(row["other_subject"])), []).append(row)
        across = min(len(tables), ACROSS)
        down = -(-len(tables) // across)
        sheet = Figure(figsize=(figure.PAGE if across > 1 else figure.COLUMN, 2.2 * down + 0.2))
        cells = sheet.subplots(down, across, squeeze=False)
        for axes in cells.flat[len(tables) :]:
            axes.set_visible(False)
        for axes, (names, rows) in zip(cells.flat, tables.items(), strict=False):
            drawn = _draw_table(axes, names, rows)
        sheet.colorbar(drawn, ax=cells, label="linear CKA", shrink=0.8, aspect=30)
        return sheet


def centered(features: Float[Tensor, "n d"]) -> Float[Tensor, " n*n"]:
    """The inner products of n images, without those of an image with itself, centered so that the
    product of two such tables is n (n - 3) times the unbiased estimate of HSIC (Song et al., 2012;
    centered as Székely and Rizzo do, 2014); divided so that tables of several batches,
    one after the other, are the mean of these estimates, an image counting as one.
    """
    count = len(features)
    apart = (features - features.mean(dim=0)).double()  # changes nothing but the rounding
    products = (apart @ apart.T).fill_diagonal_(0)
    sums = products.sum(dim=1) / (count - 2)
    products = products - sums[:, None] - sums + sums.sum() / (count - 1)
    return products.fill_diagonal_(0).flatten() / (count - 3) ** 0.5


def cka(one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> float:
    """Of two layers, by what `centered` gave of the same batches; 0 of one that tells nothing."""
    return float(F.cosine_similarity(one, other, dim=0, eps=1e-30))


def _rows(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[Row]:
    if {len(each) for each in one.values()} != {len(each) for each in other.values()}:
        raise ConfigurationError(
            "CKA compares what was seen of the same images in the same batches"
        )
    return [
        {"layer": layer, "other_layer": other_layer, "cka": cka(one[layer], other[other_layer])}
        for layer in one
        for other_layer in other
    ]


def _draw_table(axes: Axes, names: tuple[str, str], rows: list[Row]) -> Any:
    """Layers of the first model upwards, of the second to the right, as in the papers."""
    layers = list(dict.fromkeys(str(row["layer"]) for row in rows))
    others = list(dict.fromkeys(str(row["other_layer"]) for row in rows))
    table = torch.tensor([float(row["cka"]) for row in rows]).view(len(layers), len(others))
    image = axes.imshow(table.numpy(), origin="lower", vmin=0, vmax=1, cmap=figure.DEPTH)
    axes.grid(False)
    across, up = ([layer.split()[1] for layer in each] for each in (others, layers))
    axes.set_xticks(range(len(others)), figure.thinned(across, 12))
    axes.set_yticks(range(len(layers)), figure.thinned(up, 12))
    is_one = names[0] == names[1]
    owner, other_owner = ("", "") if is_one else (f"{names[0]}, ", f"{names[1]}, ")
    title = names[0] if is_one else f"{names[0]} and {names[1]}"
    kind, other_kind = layers[0].split()[0], others[0].split()[0]
    axes.set(title=title, ylabel=owner + kind, xlabel=other_owner + other_kind)
    if table.numel() <= 25:
        for row, values in enumerate(table.tolist()):
            for column, value in enumerate(values):
                ink = "black" if value > 0.6 else "white"
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", color=ink, size=5.5
                )
    return image
