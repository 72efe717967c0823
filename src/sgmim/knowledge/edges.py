"""Edge strength, by Sobel's filters."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.stored import Note
from sgmim.knowledge.maker import Function

NOTE = Note(
    name="edges",
    meaning="strength of an edge: 0 is flat, 1 the strongest there can be",
    source="sgmim.knowledge.edges",
    version="1",
    scale=65535.0,
)
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
STRONGEST = 20**0.5  # of any 3 x 3 pixels in [0, 1]; a black-white edge along a row or column has 4


def maker() -> Function:
    """Edge strength, by Sobel's filters."""
    return Function(edges, NOTE)


def edges(image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 H W"]:
    """Length of the gradient of luminance, from colors in [0, 1] to [0, 1]."""
    luma = torch.tensor(LUMA).to(image)[:, None, None]
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(image)
    grey = F.pad((image * luma).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(grey, torch.stack([across, across.T])[:, None])  # (b, 2, H, W)
    return gradient.norm(dim=1, keepdim=True) / STRONGEST
