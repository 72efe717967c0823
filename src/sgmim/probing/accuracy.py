"""How often scores of classes are right."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

SCORES = ("top1", "top5", "mean_per_class")


def accuracies(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """Shares in [0, 1] of images.

    "top1" and "top5": whose class has the largest score, or one of the five largest, if
    there are more classes. "mean_per_class": the mean over the classes that occur of each one's
    top1, which rare classes weigh as much in as frequent ones.
    """
    classes = scores.shape[1]
    best = scores.topk(min(5, classes), dim=1).indices  # (n, 5)
    right = best == labels[:, None]
    counts = F.one_hot(labels, classes).sum(dim=0)
    hits = F.one_hot(labels[right[:, 0]], classes).sum(dim=0)
    there = counts > 0
    top5 = {"top5": right.any(dim=1).double().mean().item()} if classes > 5 else {}
    return {
        "top1": right[:, 0].double().mean().item(),
        **top5,
        "mean_per_class": (hits[there] / counts[there]).double().mean().item(),
    }
