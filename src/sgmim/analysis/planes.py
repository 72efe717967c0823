"""Tokens on a plane: by t-SNE, by principal components; colored by what they belong to."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Literal

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from sgmim.analysis import figure
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch

Points = Float[np.ndarray, "n d"]
Plane = Float[np.ndarray, "n 2"]
Belonging = Literal["image", "label"]


def learner(module: str) -> Any:
    """A module of scikit-learn; raises ConfigurationError where that is not installed."""
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ConfigurationError(
            "planes of tokens need scikit-learn: pip install 'sgmim[analysis]'"
        ) from error


def neighbors(points: Points, *, perplexity: float, seed: int) -> Plane:
    """t-SNE, scikit-learn's, from a random start, 1,000 steps.

    Raises:
        ConfigurationError: a perplexity that is not above 0, or no less than there are points.
    """
    if not 0 < perplexity < len(points):
        raise ConfigurationError(
            f"a perplexity of {perplexity:g} asks for more than {perplexity:g} tokens; there are "
            f"{len(points)}: look at more --images"
        )
    made = learner("manifold").TSNE(
        perplexity=perplexity, init="random", learning_rate="auto", max_iter=1000,
        random_state=seed,
    )  # fmt: skip
    return made.fit_transform(points).astype(np.float64)


def components(points: Points) -> Plane:
    """The first two principal components; where there are fewer, the second is 0."""
    known = min(2, *points.shape)
    made = learner("decomposition").PCA(known, svd_solver="full").fit_transform(points)
    return np.pad(made.astype(np.float64), ((0, 0), (0, 2 - known)))


def silhouette(points: Points, groups: Sequence[int]) -> float | None:
    """How much nearer tokens are to those of their own group than to those of the nearest other,
    from -1 to 1 (Rousseeuw, 1987); None of a single group."""
    if not 1 < len(set(groups)) < len(points):
        return None
    return float(learner("metrics").silhouette_score(points, groups))


def between(tokens: Float[Tensor, "i n d"]) -> float:
    """The share of the variance of all tokens that lies between the means of images."""
    means = tokens.double().mean(dim=1)
    spread = (tokens - tokens.double().mean(dim=(0, 1))).square().sum(dim=2).mean()
    return float((means - means.mean(dim=0)).square().sum(dim=1).mean() / spread.clamp(min=1e-30))


def gathered(
    batches: Iterable[Batch], color: Belonging
) -> tuple[list[Float[Tensor, "b c H W"]], Int[np.ndarray, " i"]]:
    """The images of all batches, and for every image what it belongs to: itself, counted
    from 1, or its label."""
    images, labels = [], []
    for batch in batches:
        images.append(batch["image"])
        labels.append(batch[color] if color in batch and color == "label" else None)
    count = sum(map(len, images))
    if color == "image":
        return images, 1 + np.arange(count)
    return images, torch.cat([label for label in labels if label is not None]).cpu().numpy()


def colors_of(groups: Sequence[int]) -> dict[int, Any]:
    """A color for each group, as different as there can be."""
    known = sorted(set(groups))
    if len(known) <= len(figure.COLORS):
        return dict(zip(known, figure.COLORS, strict=False))
    table = matplotlib.colormaps["tab20"]
    return {group: table(place % 20) for place, group in enumerate(known)}


def bare(axes: Axes) -> None:
    """A plane whose axes have no unit."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color="#bbbbbb")
    axes.set_aspect("equal", adjustable="datalim")
