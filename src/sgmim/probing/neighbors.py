"""The class of an image by those of its nearest neighbors, weighted by how near they are.

Wu et al., 2018, arXiv:1805.01978, section 3.4; with DINO's defaults (Caron et al., 2021, appendix
C): cosine similarity, votes exp(similarity / 0.07). No training: the labeled features are the
whole classifier.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import ConfigurationError
from sgmim.probing.labeled import Labeled
from sgmim.tasks.classification_metrics import ClassificationMeter

CHUNK = 512  # queries at once


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """How neighbors vote.

    Args:
        k: how many neighbors; a score is told for each number of which there are as many, and the
            first of these is the headline.
        temperature: of the votes.
    """

    k: tuple[int, ...] = (20, 10, 100, 200)
    temperature: float = 0.07

    def check(self, known: int, asked: int) -> None:
        """Raise ConfigurationError where, of so many images, fewer can vote than are to."""
        most = known if asked else known - 1
        if min(self.k) > most:
            raise ConfigurationError(
                f"{min(self.k)} neighbors are to vote, and there are {most}: give other --knn.k"
            )

    def outcomes(
        self, train: Labeled, test: Labeled | None, classes: int, seeds: int = 1
    ) -> list[dict[str, Any]]:
        """What comes of it, once, as nothing is random: "scores" of the first k, top1 of each in
        "by_k". Without test data each image that is known is asked about by all others."""
        asked = test or train
        there = len(train) - (test is None)
        how = replace(self, k=tuple(k for k in self.k if k <= there))
        meters = {k: ClassificationMeter(classes=classes) for k in how.k}
        for which, votes in vote(train, asked.features, classes, how, leave_out=test is None):
            for k, meter in meters.items():
                meter.update(votes[k], {"label": asked.labels[which]})
        found = {k: meter.results() for k, meter in meters.items()}
        by_k = {str(k): scores["top1"] for k, scores in sorted(found.items())}
        return [{"scores": found[how.k[0]], "by_k": by_k}]

    def __post_init__(self):
        if not self.k or min(self.k) < 1:
            raise ConfigurationError(f"k is how many neighbors vote, 1 or more, not {self.k}")
        if not self.temperature > 0:
            raise ConfigurationError(f"temperature is above 0, not {self.temperature}")


@torch.inference_mode()
def vote(
    bank: Labeled,
    queries: Float[Tensor, "n d"],
    classes: int,
    how: Neighbors,
    *,
    leave_out: bool = False,
) -> Iterator[tuple[slice, dict[int, Float[Tensor, "m classes"]]]]:
    """The votes for every class, by number of neighbors: a few queries at a time, and which.

    Args:
        bank: labeled features.
        queries: features on the same device.
        classes: how many there are.
        how: neighbors vote.
        leave_out: queries are those of the bank, and none is its own neighbor.
    """
    dtype = torch.float16 if queries.is_cuda else torch.float32
    known, asked = (F.normalize(each).to(dtype) for each in (bank.features, queries))
    for start in range(0, len(asked), CHUNK):
        which = slice(start, min(start + CHUNK, len(asked)))
        similarity = asked[which] @ known.T  # (m, bank)
        if leave_out:
            similarity.diagonal(start).fill_(-torch.inf)
        nearest, rows = similarity.topk(max(how.k), dim=1)  # in falling order
        weights, labels = (nearest.float() / how.temperature).exp(), bank.labels[rows]
        none = weights.new_zeros(len(weights), classes)
        yield which, {k: none.scatter_add(1, labels[:, :k], weights[:, :k]) for k in how.k}
