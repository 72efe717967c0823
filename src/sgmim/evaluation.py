"""Score a task on a source, and say how the score was made."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.batches import in_order
from sgmim.data.images import Source
from sgmim.objective import Task


def evaluate(
    task: Task, source: Source, *, normalization: str, batch: int = 16, workers: int = 0
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores of a task, and the protocol they were made by.

    Every image of the source counts once, at its own size: it is resized for the model, and what
    the model says is resized back.

    Raises:
        DataError: a file is broken, or nothing could be scored.
    """
    task.eval()
    meter = task.meter()
    batches = in_order(
        source,
        batch=batch,
        needs=task.needs,
        normalization=normalization,
        workers=workers,
        device=next(task.parameters()).device,
    )
    with torch.no_grad():
        for samples in batches:
            image = samples["image"]
            said = task.predict(resized(image, task.encoder.image_size))
            meter.update(F.interpolate(said, image.shape[2:], mode="bilinear"), samples)
    return meter.results(), {**meter.protocol(), "images_found": len(source)}


def resized(image: Float[Tensor, "b c H W"], size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
    """An image at the size a model takes."""
    if image.shape[2:] == size:
        return image
    return F.interpolate(image, size, mode="bilinear", antialias=True)
