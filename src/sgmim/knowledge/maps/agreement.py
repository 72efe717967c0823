"""How well a source agrees with itself: what it says of an image and of its mirror image."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maps.canonical import Size, ends, resized

TOLERANCE = 0.1  # of a map's range: where the two differ by so much, the confidence is 1 / e

MEANINGS = {
    "class": "1 where the source gives the mirrored image the same class, else 0",
    "normal": "cosine between what the source says of the image and of its mirror image, from 0",
    None: f"exp(-|d - flip(d(flip))| / {TOLERANCE} r), r the range of the map, d the raw map: 1 "
    "where the source says the same of the mirrored image",
}


def described(note: Note) -> Note:
    """What is stored of the confidence in maps of which `note` tells."""
    if note.kind == "points":
        raise ConfigurationError(
            f"single pixels do not come back to their places in a mirror: there is no confidence "
            f"for {note.name}"
        )
    return replace(
        note, name=f"{note.name}_confidence", meaning=MEANINGS.get(note.kind, MEANINGS[None]),
        scale=65535.0, low=0.0, bits=16, hole=None, direction=None, kind=None, per_image=False,
    )  # fmt: skip


def agreement(
    raw: Float[Tensor, "b c h w"], mirrored: Float[Tensor, "b c h w"], note: Note, size: Size
) -> Float[Tensor, "b 1 H W"]:
    """From 0 to 1, see MEANINGS; 0 where either is unknown."""
    one, other = resized(raw, note, size), resized(mirrored, note, size).flip(-1)
    if note.kind == "class":
        same = (one == other).float()
    elif note.kind == "normal":
        across, rest = other[:, :1], other[:, 1:]
        same = F.cosine_similarity(one, torch.cat([-across, rest], 1), dim=1)[:, None].clamp(min=0)
    else:
        low, high = ends(one)
        span = (high - low).amax(1, keepdim=True)  # of the channel that has most of it
        apart = (one - other).abs().mean(1, keepdim=True)
        same = (-apart / (TOLERANCE * span).clamp(min=torch.finfo().tiny)).exp()
    return same.nan_to_num(0)
