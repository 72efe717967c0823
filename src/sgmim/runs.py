"""A run on disk, and the run itself: train, log, draw, save, go on where it stopped.

runs/NAME/
  config.yaml            every option, as it was resolved; itself a recipe
  log.jsonl              one line every so many steps
  report.html            all of it to look at, rewritten as it goes on (reports/live.py)
  pictures/              what the model paints
  checkpoints/           to go on from
  encoder.safetensors    what is taken away
  objective.safetensors  the whole, with heads, when the run is done
  diverged/              the step at which the run failed, if it did (capture.py)
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.optim import Optimizer

from sgmim import capture, distributed, training
from sgmim.checkpoint import sharded
from sgmim.checkpoint.saving import Saving
from sgmim.data.batches import Batches
from sgmim.distributed import parallel
from sgmim.draws import seeded
from sgmim.ema import MovingAverage
from sgmim.errors import DataError, FileError
from sgmim.files import sweep, write_bytes, write_text
from sgmim.log import Log, progress
from sgmim.objective import Batch, Moment, Objective
from sgmim.plan import Plan
from sgmim.reports import live
from sgmim.reports.live import write_sheet
from sgmim.signals import listening
from sgmim.training import DivergedError

CONFIG = "config.yaml"
OBJECTIVE = "objective.safetensors"
Look = Callable[[int, Objective], None]


def train(
    objective: Objective,
    optimizer: Optimizer,
    batches: Batches,
    plan: Plan,
    folder: Path,
    *,
    seed: int,
    images: int,
    ema: MovingAverage | None = None,
    configuration: dict[str, Any],
    recipe: str,
    metadata: dict[str, Any],
    preview: Batch | None = None,
    track: Sequence[str] = (),
    look: Look | None = None,
    look_every: int = 0,
) -> Objective:
    """Train to the end of the plan, from the newest checkpoint in the folder if there is one.

    Returns what the run hands over: the objective, or its moving average.

    Args:
        objective: on its device.
        optimizer: of its parameters.
        batches: of the data.
        plan: of the run.
        folder: of the run.
        seed: of the run.
        images: in the data.
        ema: the moving average to keep, shared as the objective is.
        configuration: what has to be the same for a run to go on.
        recipe: every option, for config.yaml.
        metadata: to be kept in the header of the encoder's file.
        preview: samples to draw pictures of; where the model is shared, on every process.
        track: trackers that are told of the run as well (trackers.py).
        look: called, on every process, with the steps done and what would be handed over then, in
            training mode, which it leaves as it is.
        look_every: steps between two looks; there is one at the end, too.

    Raises:
        ConfigurationError: the folder holds a run of another configuration.
        DataError: broken images, or a loss that is not finite any more.
        FileError: the folder cannot be written.
        Preempted, KeyboardInterrupt: it was asked to stop, and has saved.
    """
    total, schedule = plan.length(images), plan.schedule_for(images)
    start = _resume(folder, objective, optimizer, ema, configuration)
    if distributed.is_main():  # not before it is known that the folder's run is this one
        sweep(folder)
        sweep(folder / "pictures")
        write_text(folder / CONFIG, recipe)
    trained = ema.objective if ema else objective
    model = distributed.wrap(objective, static=plan.accumulate == 1)
    if plan.compile:
        parallel.compile_(objective)
    objective.train()
    stream = batches(start * plan.accumulate)
    steps = training.steps(
        model,
        optimizer,
        seeded(stream, seed, start=start * plan.accumulate, rank=distributed.rank()),
        schedule=schedule,
        weight_decay=plan.weight_decay_for(optimizer.defaults["weight_decay"], images),
        start=start,
        total=total,
        epoch=plan.epoch(images),
        accumulate=plan.accumulate,
        clip=plan.clip or None,
        clip_each=plan.clip_each,
        precision=plan.precision,
        ema=ema,
    )
    saving = Saving(
        folder,
        objective,
        optimizer,
        ema,
        configuration=configuration,
        keep=plan.keep,
        metadata=metadata,
    )
    log, asked = Log(folder, plan, batches, start), distributed.Agreement()
    told = live.told(folder, start, total, batches.device, track, configuration, log.known)
    with told as telling, listening() as listener, saving, progress(total, start) as advance:
        if preview is not None:
            telling.preview(preview, objective.needs, batches.normalization)
        if look and 0 < start < total and _due(start, look_every, total):
            look(start, trained)  # it may have been stopped just before
        for step in steps if start < total else ():
            done = step.number + 1
            stopping = asked(bool(listener))
            saves = stopping or _due(done, plan.save_every, total)
            try:
                if done % plan.log_every == 0 or done == total:
                    advance(done, telling.row(done, log.write(step)))
                elif saves:
                    training.read(step)  # no checkpoint without knowing that the run is well
            except DivergedError as error:
                moment = Moment(error.step, total, error.step / plan.epoch(images))
                raise _captured(
                    error, folder, objective, batches, plan, moment, seed, recipe
                ) from error
            saving.look()
            if saving.takes_part:
                if preview is not None and _due(done, plan.pictures_every, total):
                    sheet = draw(objective, preview, batches.normalization, folder, done)
                    telling.picture(done, sheet)
                if saves:
                    saving.save(done)
            if look and not stopping and _due(done, look_every, total):
                look(done, trained)
            if stopping:
                saving.finish()
                distributed.barrier()  # whoever leaves first has the others killed
                listener.stop(f"after step {done}, which is saved")
            if done == total:
                break
        saving.finish()
        if saving.takes_part:
            state = parallel.weights_of(trained)
            if distributed.is_main():
                write_bytes(folder / OBJECTIVE, safetensors.torch.save(state))
        if listener:
            listener.stop(f"after step {total}, the last, which is saved")
    return trained


def draw(objective: Objective, batch: Batch, normalization: str, folder: Path, step: int) -> Path:
    """Draw what an objective sees and makes of it, on one sheet.

    Of a shared one all processes must call this; the main one writes.
    """
    was_training = objective.training
    objective.eval()
    with torch.no_grad():
        pictures = objective.pictures(batch)
    objective.train(was_training)
    parallel.let_go(objective)
    path = folder / "pictures" / f"step_{step:08d}.png"
    return write_sheet(path, pictures, normalization) if distributed.is_main() else path


def _captured(
    error: DivergedError,
    folder: Path,
    objective: Objective,
    batches: Batches,
    plan: Plan,
    moment: Moment,
    seed: int,
    recipe: str,
) -> DivergedError:
    """The error, which says where its step can be looked at."""
    try:
        kept = capture.write(
            folder,
            objective,
            batches,
            moment=moment,
            accumulate=plan.accumulate,
            seed=seed,
            precision=plan.precision,
            recipe=recipe,
        )
    except (DataError, FileError) as other:
        return DivergedError(f"{error}. It could not be captured: {other}", error.step)
    return DivergedError(f"{error}. 'sgmim doctor --replay {kept}' looks for them", error.step)


def _resume(
    folder: Path,
    objective: Objective,
    optimizer: Optimizer,
    ema: MovingAverage | None,
    configuration: dict[str, Any],
) -> int:
    """Restore the newest checkpoint; returns the steps that are done."""
    found = sharded.latest(folder, shared=parallel.is_shared(objective))
    if found is None:
        return 0
    found.restore(objective, optimizer, ema=ema, configuration=configuration)
    if distributed.is_main():
        for name, reason in found.passed_over.items():
            print(f"passed over {name}, which cannot be read: {reason}", file=sys.stderr)
        print(f"going on from {found.path}")
    return found.step


def _due(done: int, every: int, total: int) -> bool:
    return done == total or bool(every and done % every == 0)
