"""How the tokens of some images lie to each other: t-SNE of all of them together.

van der Maaten and Hinton, "Visualizing Data using t-SNE" (2008), as in Park et al., "What Do
Self-Supervised Vision Transformers Learn?" (2023), and in KAMIM, section 5. A plane whose axes mean
nothing: what lies together belongs together, how far clusters are apart says little. The number
that is told is of the tokens themselves.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import figure, planes
from sgmim.analysis.base import Analysis, Findings, Row, Subject
from sgmim.analysis.layers import chosen, layer_maps, layer_names
from sgmim.analysis.planes import Belonging
from sgmim.encoders import Encoder
from sgmim.objective import Batch

ACROSS = 4  # panels side by side


class Tokens(Analysis):
    """t-SNE of tokens: whether those of an image, or of a class, lie together.

    Args:
        layer: a block of a ViT or a stage of a Swin, counted from 1; the last but one if not given.
        color: by image; or by label, where the data has labels.
        perplexity: about how many neighbors of each token count.
        seed: of where the tokens start.
    """

    title = "t-SNE of tokens"
    images = 16

    def __init__(
        self,
        *,
        layer: int | None = None,
        color: Belonging = "image",
        perplexity: float = 20.0,
        seed: int = 0,
    ):
        self.layer, self.color, self.perplexity, self.seed = layer, color, perplexity, seed
        self.needs = ("image",) if color == "image" else ("image", "label")

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        images, groups = planes.gathered(batches, self.color)
        maps = torch.cat([self._maps(subject.encoder, image) for image in images])
        points = maps.flatten(2).transpose(1, 2).flatten(0, 1).cpu().numpy()  # (i n, d)
        count = len(points) // len(groups)
        plane = planes.neighbors(points, perplexity=self.perplexity, seed=self.seed)
        rows: list[Row] = [
            {
                "image": place // count + 1,
                self.color: int(groups[place // count]),
                "row": place % count // maps.shape[3],
                "column": place % count % maps.shape[3],
                "x": x,
                "y": y,
            }
            for place, (x, y) in enumerate(plane.round(3).tolist())
        ]
        belonging = groups.repeat(count).tolist()
        told = planes.silhouette(points, belonging)
        return Findings({} if told is None else {f"silhouette by {self.color}": told}, rows)

    def _maps(self, encoder: Encoder, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        layer = self.layer or max(1, len(layer_names(encoder)) - 1)
        layers = chosen(encoder, (layer,))
        return next(iter(layer_maps(encoder, image, layers).values())).float()

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """A panel a subject, a dot a token."""
        across = min(len(findings), ACROSS)
        down = -(-len(findings) // across)
        side = min(2.2, figure.PAGE / across)
        sheet = Figure(figsize=(side * across, (side + 0.35) * down))
        cells = sheet.subplots(down, across, squeeze=False)
        for axes in cells.flat[len(findings) :]:
            axes.set_visible(False)
        for axes, (name, found) in zip(cells.flat, findings.items(), strict=False):
            groups = [int(row[self.color]) for row in found.rows]
            colors = planes.colors_of(groups)
            x, y = ([float(row[axis]) for row in found.rows] for axis in ("x", "y"))
            axes.scatter(x, y, c=[colors[g] for g in groups], s=3, linewidths=0, rasterized=True)
            planes.bare(axes)
            told = "".join(f"\n{what}: {value:.2f}" for what, value in found.numbers.items())
            axes.set_title(name + told)
        return sheet
