"""How often scores of classes are right."""

from jaxtyping import Float, Int
from torch import Tensor

from sgmim.tasks.classification_metrics import ClassificationMeter


def accuracies(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """The shares that a task is scored by: see ClassificationMeter."""
    meter = ClassificationMeter(classes=scores.shape[1])
    meter.update(scores, {"label": labels})
    return meter.results()
