"""What an encoder tells apart in an image, in colors: principal components of its features.

DINOv2 (Oquab et al., 2023), figure 1. The components are of all images together, so that like
colors are like features from one image to the next; between models colors mean nothing.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.layers import chosen, layer_maps, layer_names
from sgmim.components import painted
from sgmim.data.geometry import unnormalize
from sgmim.objective import Batch

COLORS = 3  # components: red, green and blue


class Components(Analysis):
    """Features in colors: the first three principal components, on the images.

    Args:
        layers: counted from 1; the last if not given.
    """

    title = "Features in colors (principal components)"
    images = 6

    def __init__(self, *, layers: tuple[int, ...] | None = None):
        self.layers = layers

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        last = (len(layer_names(subject.encoder)),)
        layers = chosen(subject.encoder, last if self.layers is None else self.layers)
        images: list[Tensor] = []
        seen: dict[str, list[Tensor]] = {name: [] for name in layers}
        for batch in batches:
            images.append(unnormalize(batch["image"], subject.normalization).clamp(0, 1).cpu())
            for name, features in layer_maps(subject.encoder, batch["image"], layers).items():
                seen[name].append(features.float().cpu())
        shown = {f"image {number}": image for number, image in enumerate(torch.cat(images))}
        rows: list[Row] = []
        for name, parts in seen.items():
            features = torch.cat(parts)
            colors = painted(features, subject.encoder.image_size)
            shown |= {f"{name} {number}": color for number, color in enumerate(colors)}
            for component, share in enumerate(explained(features), start=1):
                rows.append({"layer": name, "component": component, "explained": share})
        return Findings(_told(rows), rows, shown)

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """A line for each image; a column for each layer of each subject."""
        first = next(iter(findings.values())).pictures
        images = [name for name in first if name.startswith("image")]
        columns = [("", "image", first)]
        for name, found in findings.items():
            layers = dict.fromkeys(str(row["layer"]) for row in found.rows)
            columns += [(name, layer, found.pictures) for layer in layers]
        height, width = first[images[0]].shape[1:]
        side = min(1.1, figure.PAGE / len(columns))
        size = side * len(columns), side * height / width * len(images) + 0.4
        sheet = Figure(figsize=size)
        cells = sheet.subplots(len(images), len(columns), squeeze=False)
        for number, line in enumerate(cells):
            for axes, (name, layer, pictures) in zip(line, columns, strict=True):
                axes.imshow(pictures[f"{layer} {number}"].movedim(0, -1).numpy())
                axes.set_axis_off()
                if number == 0:
                    axes.set_title(f"{name}\n{layer}".strip())
        return sheet


def explained(features: Float[Tensor, "b d h w"]) -> list[float]:
    """The shares of all cells' variance that the first components have."""
    cells = features.movedim(1, -1).flatten(0, 2)
    variances = torch.linalg.svdvals(cells - cells.mean(dim=0)).square()
    return (variances / variances.sum().clamp(min=1e-12))[:COLORS].tolist()


def _told(rows: list[Row]) -> dict[str, float]:
    """Of each layer, the share that three colors show."""
    shares: dict[str, float] = {}
    for row in rows:
        name = f"{row['layer']}, variance in colors"
        shares[name] = shares.get(name, 0.0) + float(row["explained"])
    return shares
