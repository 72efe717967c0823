"""How far every head looks: the mean distance, in pixels, of what attention finds.

Raghu et al., "Do Vision Transformers See Like Convolutional Neural Networks?" (2021), section 3;
Park et al., "What Do Self-Supervised Vision Transformers Learn?" (2023), figure 1; KAMIM, section
5. Uniform attention is not 0 but half an image: 116.5 pixels of 224, 99.7 of 192.
"""

from collections.abc import Iterable, Mapping
from math import hypot
from typing import Literal

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import heads
from sgmim.analysis.base import Analysis, Findings, Subject
from sgmim.encoders.attention import Attention
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch

LEAST = 1e-32  # added to probabilities (Park et al.'s code)


class AttentionDistance(Analysis):
    """Attention distance: how many pixels away every head of every block looks.

    Args:
        unit: pixels; or shares of the image's diagonal, by which images of several sizes can be
            laid side by side, as is done without being asked where subjects differ in that.
    """

    title = "Attention distance"

    def __init__(self, *, unit: Literal["auto", "pixels", "diagonal"] = "auto"):
        self.unit = unit

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        rows = heads.measured(subject.encoder, batches, of_heads, "pixels")
        diagonal = hypot(*subject.encoder.image_size)
        for row in rows:
            for kind in ("{}", heads.UNIFORM):
                row[kind.format("diagonal")] = float(row[kind.format("pixels")]) / diagonal
        return Findings(
            {
                "distance, pixels": heads.mean(rows, "pixels"),
                "distance, pixels, uniform": heads.mean(rows, "pixels, uniform"),
                "distance, diagonals": heads.mean(rows, "diagonal"),
            },
            rows,
        )

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """Heads as dots, their means as lines, a panel a subject.

        Raises:
            ConfigurationError: pixels were asked for, of images of several sizes.
        """
        diagonals = {
            round(float(row["pixels"]) / float(row["diagonal"]))
            for found in findings.values()
            for row in found.rows
            if row["pixels"]
        }
        if self.unit == "pixels" and len(diagonals) > 1:
            raise ConfigurationError(
                "pixels of images of several sizes say nothing about each other: give --unit "
                "diagonal, or one --size for all"
            )
        if self.unit == "diagonal" or len(diagonals) > 1:
            return heads.draw(findings, "diagonal", "attention distance / diagonal")
        return heads.draw(findings, "pixels", "attention distance / pixels")


def of_heads(attention: Attention) -> Float[Tensor, "b heads"]:
    """In pixels; in a Swin, the mean over windows, on the grid as it lies on the image."""
    apart = distances(attention.places())  # (g, m, m)
    return distance(attention.among_patches, apart[:, None]).mean(dim=1)


def distances(places: Float[Tensor, "... m 2"]) -> Float[Tensor, "... m m"]:
    """From every place to every other."""
    return (places[..., :, None, :] - places[..., None, :, :]).norm(dim=-1)


def distance(
    probabilities: Float[Tensor, "... m m"], apart: Float[Tensor, "*g m m"]
) -> Float[Tensor, "..."]:
    """Mean over queries of how far the keys are apart, weighted by their probabilities, which are
    made to add up to 1 where other tokens have been left out."""
    weights = probabilities + LEAST
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return (weights * apart).sum(dim=-1).mean(dim=-1)
