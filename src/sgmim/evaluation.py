"""Score a task on a source, and say how the score was made."""

from typing import Any

import torch

from sgmim import distributed
from sgmim.data.batches import in_order
from sgmim.data.derived import Subset
from sgmim.data.images import Source
from sgmim.distributed.parallel import is_shared
from sgmim.errors import DataError
from sgmim.inference import Inference
from sgmim.objective import Meter, Task
from sgmim.progress import progress

WHOLE = Inference()


def evaluate(
    task: Task,
    source: Source,
    *,
    normalization: str,
    inference: Inference = WHOLE,
    batch: int = 16,
    workers: int = 0,
    partial: bool = False,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores of a task, and the protocol they were made by.

    Every image of the source counts once, at its own size, also where several processes share the
    work: each takes a part, none is padded, and what they have counted is added up.

    Args:
        task: on its device.
        source: with the maps that the task needs.
        normalization: of the images' colors.
        inference: how images are shown to the model.
        batch: images at once.
        workers: processes that read images, besides this one.
        partial: score what there is, also where the source is known not to be complete.

    Raises:
        DataError: a file is broken, or nothing could be scored; or images are missing of those the
            source says a benchmark has, and not `partial`.
    """
    expected = getattr(source, "expected", None)
    if expected not in (None, len(source)) and not partial:
        raise DataError(
            f"{len(source)} images were found to test on, and this split has {expected}: complete "
            "it ('sgmim data check' says what is missing), or give --partial to score what there is"
        )
    meter, was_training = task.meter(), task.training
    task.eval()
    # a model of which each process holds a part is run by all in step: each sees every image
    together = distributed.world() > 1 and not is_shared(task)
    share = _own_share(source) if together else source
    if share is not None:
        _measure(task, share, meter, normalization, inference, batch, workers)
    if together:
        meter.totals = torch.stack(distributed.gathered(meter.totals.cpu())).sum(dim=0)
    task.train(was_training)
    counted = {"images_found": len(source), "images_expected": expected}
    return meter.results(), {**meter.protocol(), "inference": inference.protocol(), **counted}


def _own_share(source: Source) -> Source | None:
    """This process's part of a source; none where there are more processes than images."""
    rank, world = distributed.rank(), distributed.world()
    part = (rank / world, (rank + 1) / world)
    first, last = (round(share * len(source)) for share in part)
    return Subset(source, part) if first < last else None


def _measure(
    task: Task,
    source: Source,
    meter: Meter,
    normalization: str,
    inference: Inference,
    batch: int,
    workers: int,
) -> None:
    """Let a meter see what a task says of every image."""
    batches = in_order(
        source,
        batch=batch,
        needs=(*task.needs, *meter.needs),
        normalization=normalization,
        workers=workers,
        device=next(task.parameters()).device,
    )
    done = 0
    with torch.no_grad(), progress("evaluate") as tell:
        for samples in batches:
            said = inference(task.predict, samples["image"], task.encoder.image_size)
            meter.update(said, samples)
            done += len(said)
            tell(done, len(source))
