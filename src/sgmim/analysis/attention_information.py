"""How much what a head looks at depends on who looks: normalized mutual information.

Park et al., "What Do Self-Supervised Vision Transformers Learn?" (2023), section 3.1 and figure 3;
KAMIM, section 5. Of queries q, all alike, and keys k:

    I(q; k) / sqrt(H(q) H(k))    0: all queries look at the same; 1: each at a key of its own
"""

from collections.abc import Iterable, Mapping
from math import log

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from sgmim.analysis import heads
from sgmim.analysis.base import Analysis, Findings, Subject
from sgmim.encoders.attention import Attention
from sgmim.objective import Batch

LEAST = 1e-8  # added to probabilities (Park et al.'s code)


class AttentionInformation(Analysis):
    """Attention's mutual information: whether the queries of a head look at different keys."""

    title = "Normalized mutual information of attention"

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        rows = heads.measured(subject.encoder, batches, of_heads, "information")
        return Findings({"mutual information": heads.mean(rows, "information")}, rows)

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """Heads as dots, their means as lines, a panel a subject."""
        return heads.draw(findings, "information", "NMI of queries and keys")


def of_heads(attention: Attention) -> Float[Tensor, "b heads"]:
    """In a Swin, the mean over windows."""
    return information(attention.among_patches).mean(dim=1)


def information(probabilities: Float[Tensor, "... m m"]) -> Float[Tensor, "..."]:
    """Of queries (rows) and keys, with natural logarithms; 0 where there is but one key."""
    given = probabilities + LEAST
    given = given / given.sum(dim=-1, keepdim=True)
    marginal = given.mean(dim=-2, keepdim=True)
    mutual = (given * (given / marginal).log()).sum(dim=-1).mean(dim=-1)
    of_keys = -(marginal * marginal.log()).sum(dim=(-2, -1))
    of_queries = log(given.shape[-1])
    return mutual / (of_queries * of_keys).clamp(min=torch.finfo(given.dtype).tiny).sqrt()
