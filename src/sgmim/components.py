"""Features as colors: what an encoder tells apart in an image, to look at."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def painted(
    features: Float[Tensor, "b d h w"], size: tuple[int, int]
) -> Float[Tensor, "b 3 {size[0]} {size[1]}"]:
    """The first three principal components of all cells as red, green and blue in [0, 1].

    Cells with like features have like colors, also from one image to the next (DINOv2: Oquab et
    al., 2023, figure 1).
    """
    cells = features.float().movedim(1, -1).flatten(0, 2)  # (b * h * w, d)
    cells = cells - cells.mean(dim=0)
    directions = torch.linalg.svd(cells, full_matrices=False).Vh[:3]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    colors = cells @ (directions * largest.sign()).T  # a direction has no sign of its own
    low, high = colors.amin(dim=0), colors.amax(dim=0)
    colors = (colors - low) / (high - low).clamp(min=1e-12)
    colors = F.pad(colors, (0, 3 - colors.shape[1]))  # of features with fewer than three channels
    colors = colors.unflatten(0, (len(features), *features.shape[2:])).movedim(-1, 1)
    return F.interpolate(colors, size, mode="nearest-exact")
