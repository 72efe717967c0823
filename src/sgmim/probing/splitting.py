"""Parts of labeled data that are held out at random, of every class alike."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sgmim import draws


def held_out(labels: Int[Tensor, " n"], share: float, seed: int) -> Bool[Tensor, " n"]:
    """Which samples are held out: `share` of each class, to the nearest whole number, but of a
    class of several one at least, and never all. The same for a seed on any device."""
    labels = labels.cpu()
    keys = torch.tensor([draws.key(seed, len(labels))])
    order = draws.order(keys, len(labels), stream=1)[0]
    by_class = order[labels[order].argsort(stable=True)]  # class after class, each in random order
    counts = labels.bincount()
    starts = counts.cumsum(dim=0) - counts
    kinds = labels[by_class]
    places = torch.arange(len(labels)) - starts[kinds]  # from 0 in every class
    many = (share * counts).round().long().clamp(min=1)
    many = many.minimum(counts - 1).clamp(min=0)
    found = torch.zeros(len(labels), dtype=torch.bool)
    found[by_class[places < many[kinds]]] = True
    return found
