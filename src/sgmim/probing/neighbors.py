"""The class of an image by those of its nearest neighbors, weighted by how near they are.

Wu et al., 2018, arXiv:1805.01978, section 3.4; with DINO's defaults (Caron et al., 2021, appendix
C): cosine similarity, votes exp(similarity / 0.07). No training: the labeled features are the
whole classifier.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import ConfigurationError
from sgmim.probing.accuracy import accuracies
from sgmim.probing.labeled import Labeled

CHUNK = 512  # queries at once


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """How neighbors vote.

    Args:
        k: how many neighbors; a score is told for each number, the first is the headline.
        temperature: of the votes.
    """

    k: tuple[int, ...] = (20, 10, 100, 200)
    temperature: float = 0.07

    def outcomes(
        self, train: Labeled, test: Labeled | None, classes: int, seeds: int = 1
    ) -> list[dict[str, Any]]:
        """What comes of it, once, as nothing is random: "scores" of the first k, top1 of each in
        "by_k". Without test data each image of the others is asked about by all others.

        Raises:
            ConfigurationError: there are fewer images than neighbors that are to vote.
        """
        most = len(train) - (test is None)
        if max(self.k) > most:
            raise ConfigurationError(
                f"{max(self.k)} neighbors are to vote, and there are {most} images: give other "
                "--knn.k"
            )
        asked = test or train
        votes = vote(train, asked.features, classes, self, leave_out=test is None)
        found = {k: accuracies(said, asked.labels) for k, said in votes.items()}
        by_k = {str(k): scores["top1"] for k, scores in sorted(found.items())}
        return [{"scores": found[self.k[0]], "by_k": by_k}]

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
) -> dict[int, Float[Tensor, "n classes"]]:
    """The votes for every class, by number of neighbors.

    Args:
        bank: labeled features.
        queries: features on the same device.
        classes: how many there are.
        how: neighbors vote.
        leave_out: queries are those of the bank, and none is its own neighbor.
    """
    dtype = torch.float16 if queries.is_cuda else torch.float32
    known, asked = (F.normalize(each).to(dtype) for each in (bank.features, queries))
    votes = {k: queries.new_zeros(len(queries), classes) for k in how.k}
    for start in range(0, len(asked), CHUNK):
        similarity = asked[start : start + CHUNK] @ known.T  # (chunk, bank)
        if leave_out:
            similarity.diagonal(start).fill_(-torch.inf)
        nearest, rows = similarity.topk(max(how.k), dim=1)  # in falling order
        weights, labels = (nearest.float() / how.temperature).exp(), bank.labels[rows]
        for k, said in votes.items():
            said[start : start + CHUNK].scatter_add_(1, labels[:, :k], weights[:, :k])
    return votes
