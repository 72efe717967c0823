"""Score a task on a source, and say how the score was made."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch

from sgmim import distributed
from sgmim.data.batches import in_order
from sgmim.data.derived import Subset
from sgmim.data.images import Source
from sgmim.data.labels import within
from sgmim.distributed.parallel import is_shared, let_go
from sgmim.errors import ConfigurationError, DataError
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
    scoring: Mapping[str, Any] | None = None,
    batch: int = 16,
    workers: int = 0,
    partial: bool = False,
    told: bool = True,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores of a task, and the protocol they were made by.

    Every image of the source counts once, at its own size, also where several processes share the
    work: each takes a part, none is padded, and what they have counted is added up.

    Args:
        task: on its device.
        source: with the maps that the task needs.
        normalization: of the images' colors.
        inference: how images are shown to the model.
        scoring: options of the task's meter, in the place of the task's own.
        batch: images at once.
        workers: processes that read images, besides this one.
        partial: score what there is, also where the source is known not to be complete.
        told: say how far it is.

    Raises:
        ConfigurationError: options that do not go together.
        DataError: a file is broken, or nothing could be scored; or images are missing of those the
            source says a benchmark has, and not `partial`.
    """
    meter, was_training = checked(task, source, scoring, partial), task.training
    task.eval()
    # a model of which each process holds a part is run by all in step: each sees every image
    together = distributed.world() > 1 and not is_shared(task)
    share = _own_share(source) if together else source
    if share is not None:
        share = within(share, task.limits)
        _measure(task, share, meter, normalization, inference, batch, workers, told)
    let_go(task)
    if together:
        meter.totals = torch.stack(distributed.gathered(meter.totals.cpu())).sum(dim=0)
    task.train(was_training)
    seen = inference.protocol() | {"size": list(task.encoder.image_size)}
    counted = {"images_found": len(source), "images_expected": getattr(source, "expected", None)}
    return meter.results(), {**meter.protocol(), "inference": seen, **counted}


def checked(
    task: Task, source: Source, scoring: Mapping[str, Any] | None = None, partial: bool = False
) -> Meter:
    """What will score a task on a source, once it is known that it can; see `evaluate`."""
    options, classes = dict(scoring or {}), tuple(getattr(source, "classes", ()))
    if classes and task.limits:
        options["names"] = classes
    meter = task.meter(**options)
    task.check(source.has, "test")
    if missing := [name for name in meter.needs if name not in source.has]:
        raise ConfigurationError(
            f"these scores need {' and '.join(missing)}, and the data has only "
            f"{', '.join(sorted(source.has))}: only KITTI's images are cut from larger ones; "
            "take --score.region_frame kb"
        )
    expected = getattr(source, "expected", None)
    if expected not in (None, len(source)) and not partial:
        raise DataError(
            f"{len(source)} images were found to test on, and this split has {expected}: complete "
            "it ('sgmim data check' says what is missing), or give --partial to score what there is"
        )
    return meter


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
    told: bool,
) -> None:
    """Let a meter see what a task says of every image."""
    as_a_whole = "label" in task.needs
    fitted: dict[str, Any] = {}
    if as_a_whole:
        fitted = {"size": task.encoder.image_size, "share": inference.share}
        fitted["interpolation"] = inference.interpolation if inference.share else "bilinear"
    batches = in_order(
        source,
        batch=batch,
        needs=(*task.needs, *meter.needs),
        normalization=normalization,
        workers=workers,
        device=next(task.parameters()).device,
        **fitted,
    )
    done = 0
    telling = progress("evaluate") if told else nullcontext(lambda done, count: None)
    with torch.no_grad(), telling as tell:
        for samples in batches:
            image = samples["image"]
            if as_a_whole:
                said = inference.of_all(task.predict, image)
            else:
                said = inference(task.predict, image, task.encoder.image_size)
            meter.update(said, samples)
            done += len(said)
            tell(done, len(source))
