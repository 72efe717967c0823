"""A run on disk, and the run itself: train, log, draw, save, go on where it stopped.

runs/NAME/
  config.yaml            every option, as it was resolved; itself a recipe
  log.jsonl              one line every so many steps
  pictures/              what the model paints
  checkpoints/           to go on from
  encoder.safetensors    what is taken away
  objective.safetensors  the whole, with heads, when the run is done
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import safetensors.torch
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.optim import Optimizer

from sgmim import checkpoint, distributed, schedules, training
from sgmim.analysis.pictures import sheet
from sgmim.data.batches import Batches
from sgmim.data.geometry import unnormalize
from sgmim.draws import seeded
from sgmim.ema import MovingAverage
from sgmim.encoders.files import save_encoder
from sgmim.errors import ConfigurationError, FileError
from sgmim.files import write_bytes, write_text, write_whole
from sgmim.objective import Batch, Objective

CONFIG = "config.yaml"
OBJECTIVE = "objective.safetensors"

Row = dict[str, float | int]  # a line of the log


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run trains, on how much at once, at which rate.

    Args:
        epochs: passes over the data.
        steps: of the optimizer, instead of epochs.
        batch: images a step, over all processes and micro-batches.
        accumulate: micro-batches a step.
        lr: learning rate for a batch of `lr_per` images; the other rates are scaled with it.
        lr_per: images that the rates are for; 0 takes them as they are. SimMIM and its family say
            512, MAE's family 256.
        schedule: "cosine" and "multistep" are SimMIM's and SG-MIM's, "late_cosine" MAE's,
            "up_and_down" that of MIM-Depth-Estimation, "constant" stays after the warm-up.
        warmup_epochs: epochs of rising rate.
        warmup_lr: rate of the first step.
        min_lr: rate of the last.
        milestones: epochs after which a multistep schedule goes down.
        gamma: and by which factor.
        clip: largest norm of a gradient; 0 is no limit.
        precision: of the forward pass; "auto" is bf16 where the device is faster in it.
        compile: with torch.compile: worth it on a GPU.
        ema: keep a moving average with this decay, and hand that over; 0 keeps none.
        log_every: steps between lines of the log.
        save_every: steps between checkpoints; 0 saves at the end alone.
        pictures_every: steps between picture sheets; 0 draws at the end alone.
        keep: checkpoints to keep.
    """

    epochs: float = 100.0
    steps: int | None = None
    batch: int = 64
    accumulate: int = 1
    lr: float = 2e-4
    lr_per: int = 512
    schedule: Literal["cosine", "multistep", "late_cosine", "up_and_down", "constant"] = "cosine"
    warmup_epochs: float = 10.0
    warmup_lr: float = 1e-6
    min_lr: float = 1e-5
    milestones: tuple[float, ...] = (700.0,)
    gamma: float = 0.1
    clip: float = 5.0
    precision: training.Precision = "auto"
    compile: bool = False
    ema: float = 0.0
    log_every: int = 50
    save_every: int = 1000
    pictures_every: int = 1000
    keep: int = 2

    def __post_init__(self):
        for name in ("batch", "accumulate", "log_every", "keep", "epochs", "lr", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise ConfigurationError(f"{name} is above 0, not {value}")
        for name in ("lr_per", "warmup_epochs", "clip", "ema", "save_every", "pictures_every"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"{name} is 0 or more, not {getattr(self, name)}")
        if self.ema >= 1:
            raise ConfigurationError(f"a moving average with a decay of {self.ema} never moves")
        if self.batch % self.accumulate:
            raise ConfigurationError(
                f"a batch of {self.batch} images cannot be split into {self.accumulate} parts"
            )

    @property
    def micro_batch(self) -> int:
        """Images at once, over all processes."""
        return self.batch // self.accumulate

    @property
    def rate(self) -> float:
        """The learning rate, scaled to the batch."""
        return self._scaled(self.lr)

    def length(self, images: int) -> int:
        """Steps of the run on so many images."""
        return self.steps or max(1, round(self.epochs * self._epoch(images)))

    def schedule_for(self, images: int) -> schedules.Schedule:
        """The learning rate of every step."""
        steps, epoch = self.length(images), self._epoch(images)
        warmup = min(round(self.warmup_epochs * epoch), steps // 2)
        first, last = self._scaled(self.warmup_lr), self._scaled(self.min_lr)
        match self.schedule:
            case "cosine":
                return schedules.Cosine(
                    lr=self.rate, steps=steps, warmup=warmup, warmup_lr=first, min_lr=last
                )
            case "late_cosine":
                return schedules.CosineAfterWarmup(
                    lr=self.rate, steps=steps, warmup=warmup, warmup_lr=first, min_lr=last
                )
            case "up_and_down":
                if not self.steps and self.epochs >= 2:  # the last of an odd number has min_lr
                    steps = round(self.epochs // 2 * 2 * epoch)
                return schedules.UpAndDown(lr=self.rate, steps=steps, min_lr=last)
        milestones = self.milestones if self.schedule == "multistep" else ()
        return schedules.Multistep(
            lr=self.rate,
            milestones=tuple(round(milestone * epoch) for milestone in milestones),
            gamma=self.gamma,
            warmup=warmup,
            warmup_lr=first,
        )

    def _epoch(self, images: int) -> float:
        return max(images // self.micro_batch, 1) / self.accumulate

    def _scaled(self, lr: float) -> float:
        return schedules.scaled_lr(lr, self.batch, per=self.lr_per) if self.lr_per else lr


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
    with _progress(total, start) as advance:
        for step in steps if start < total else ():
            done = step.number + 1
            if done % plan.log_every == 0 or done == total:
                advance(done, log.write(step))
            if distributed.is_main():
                if preview is not None and _due(done, plan.pictures_every, total):
                    draw(objective, preview, batches.normalization, folder, done)
                if _due(done, plan.save_every, total):
                    save(done)
            if done == total:
                break
    if distributed.is_main():
        state = {name: t.detach().cpu().contiguous() for name, t in trained.state_dict().items()}
        write_bytes(folder / OBJECTIVE, safetensors.torch.save(state))
    return trained


class Log:
    """Lines of log.jsonl: losses, rate, images a second, share of the time spent waiting."""

    def __init__(self, folder: Path, plan: Plan, batches: Batches, start: int = 0):
        self.path, self.plan, self.batches = folder / "log.jsonl", plan, batches
        self.last, self.waited, self.done = perf_counter(), batches.waited, start
        if distributed.is_main():
            self._forget(start)

    def write(self, step: training.Step) -> Row:
        now, waited = perf_counter(), self.batches.waited
        numbers = distributed.mean(training.read(step))
        done = step.number + 1
        row = {
            "step": done,
            **numbers,
            "images_per_second": (done - self.done) * self.plan.batch / (now - self.last),
            "waiting": (waited - self.waited) / (now - self.last),
            "replaced": len(self.batches.replaced),
        }
        self.last, self.waited, self.done = now, waited, done
        if distributed.is_main():
            with _writable(self.path), open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return row

    def _forget(self, start: int) -> None:
        """Drop the lines of steps that were not saved, which come again, and a torn last line."""
        if not self.path.is_file():
            return
        kept = b""
        for line in self.path.read_bytes().splitlines(keepends=True):
            with suppress(ValueError):
                kept += line if json.loads(line)["step"] <= start else b""
        write_bytes(self.path, kept)


def draw(objective: Objective, batch: Batch, normalization: str, folder: Path, step: int) -> Path:
    """Draw what an objective sees and makes of it, on one sheet."""
    was_training = objective.training
    objective.eval()
    with torch.no_grad():
        pictures = objective.pictures(batch)
    objective.train(was_training)
    pictures = {
        name: unnormalize(picture, normalization) if name.startswith("image") else picture
        for name, picture in pictures.items()
    }
    path = folder / "pictures" / f"step_{step:08d}.png"
    write_whole(path, lambda file: sheet(pictures).save(file, "PNG"))
    return path


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


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot write {path}: {error}") from error


@contextmanager
def _progress(total: int, start: int):
    """A bar with what the log says last; lines where nobody sees a bar; nothing in other ranks."""
    if not distributed.is_main():
        yield lambda done, row: None
    elif not sys.stdout.isatty():
        yield lambda done, row: print(f"step {done} of {total}: {_told(row)}", flush=True)
    else:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        with Progress(*columns) as bar:
            task = bar.add_task("", total=total, completed=start, told="")
            yield lambda done, row: bar.update(task, completed=done, told=_told(row))


def _told(row: Row) -> str:
    unsaid = ("step", "loss", "lr", "grad_norm", "images_per_second", "waiting", "replaced")
    parts = [f"{name} {value:.4f}" for name, value in row.items() if name not in unsaid]
    broken = f", {row['replaced']:.0f} broken" if row["replaced"] else ""
    return (
        f"{', '.join(parts)}, rate {row['lr']:.2e}, {row['images_per_second']:.0f} images/s, "
        f"waiting {row['waiting']:.0%}{broken}"
    )
