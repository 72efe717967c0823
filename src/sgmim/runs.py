"""A run on disk, and the run itself: train, log, draw, save, go on where it stopped.

runs/NAME/
  config.yaml            every option, as it was resolved; itself a recipe
  log.jsonl              one line every so many steps
  report.html            all there is to see of it, rewritten as it goes on
  environment.json       every start: when, at which step, on what
  pictures/              what the model paints
  checkpoints/           to go on from
  encoder.safetensors    what is taken away
  objective.safetensors  the whole, with heads, when the run is done
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.optim import Optimizer

from sgmim import checkpoint, distributed, training
from sgmim.analysis import live
from sgmim.analysis.live import write_sheet
from sgmim.data.batches import Batches
from sgmim.draws import seeded
from sgmim.ema import MovingAverage
from sgmim.encoders.files import save_encoder
from sgmim.files import write_bytes, write_text
from sgmim.log import Log, progress
from sgmim.objective import Batch, Objective
from sgmim.plan import Plan

CONFIG = "config.yaml"
OBJECTIVE = "objective.safetensors"


def train(
    objective: Objective,
    optimizer: Optimizer,
    batches: Batches,
    plan: Plan,
    folder: Path,
    *,
    seed: int,
    images: int,
    configuration: dict[str, Any],
    recipe: str,
    metadata: dict[str, Any],
    preview: Batch | None = None,
    track: Sequence[str] = (),
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
        configuration: what has to be the same for a run to go on.
        recipe: every option, for config.yaml.
        metadata: to be kept in the header of the encoder's file.
        preview: samples to draw pictures of.
        track: trackers that are told of the run as well (trackers.py).

    Raises:
        ConfigurationError: the folder holds a run of another configuration.
        DataError: broken images, or a loss that is not finite any more.
        FileError: the folder cannot be written.
    """
    total, schedule = plan.length(images), plan.schedule_for(images)
    ema = MovingAverage(objective, plan.ema) if plan.ema else None
    start = _resume(folder, objective, optimizer, ema, configuration)
    if distributed.is_main():  # not before it is known that the folder's run is this one
        write_text(folder / CONFIG, recipe)
    trained = ema.objective if ema else objective
    model = distributed.wrap(objective)
    if plan.compile:
        objective.compile()
    objective.train()
    stream = batches(start * plan.accumulate)
    steps = training.steps(
        model,
        optimizer,
        seeded(stream, seed, start=start * plan.accumulate, rank=distributed.rank()),
        schedule=schedule,
        start=start,
        accumulate=plan.accumulate,
        clip=plan.clip or None,
        precision=plan.precision,
        ema=ema,
    )

    def save(done: int) -> None:
        # the encoder first: a run stopped in between comes by here again
        save_encoder(trained.encoder, folder, step=done, **metadata)
        checkpoint.save(
            folder,
            done,
            objective,
            optimizer,
            ema=ema,
            configuration=configuration,
            keep=plan.keep,
        )

    log = Log(folder, plan, batches, start)
    told = live.told(folder, start, total, batches.device, track, configuration, log.known)
    with told as telling, progress(total, start) as advance:
        if preview is not None:
            telling.preview(preview, objective.needs, batches.normalization)
        for step in steps if start < total else ():
            done = step.number + 1
            if done % plan.log_every == 0 or done == total:
                advance(done, telling.row(done, log.write(step)))
            if distributed.is_main():
                if preview is not None and _due(done, plan.pictures_every, total):
                    sheet = draw(objective, preview, batches.normalization, folder, done)
                    telling.picture(done, sheet)
                if _due(done, plan.save_every, total):
                    save(done)
            if done == total:
                break
    if distributed.is_main():
        state = {name: t.detach().cpu().contiguous() for name, t in trained.state_dict().items()}
        write_bytes(folder / OBJECTIVE, safetensors.torch.save(state))
    return trained


def draw(objective: Objective, batch: Batch, normalization: str, folder: Path, step: int) -> Path:
    """Draw what an objective sees and makes of it, on one sheet."""
    was_training = objective.training
    objective.eval()
    with torch.no_grad():
        pictures = objective.pictures(batch)
    objective.train(was_training)
    path = folder / "pictures" / f"step_{step:08d}.png"
    return write_sheet(path, pictures, normalization)


def _resume(
    folder: Path,
    objective: Objective,
    optimizer: Optimizer,
    ema: MovingAverage | None,
    configuration: dict[str, Any],
) -> int:
    """Restore the newest checkpoint; returns the steps that are done."""
    found = checkpoint.latest(folder)
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
