"""How long a run trains, on how much at once, at which rate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal

from sgmim import schedules
from sgmim.errors import ConfigurationError
from sgmim.training import Precision


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is told of its training.

    Args:
        epochs: passes over the data.
        steps: of the optimizer, instead of epochs.
        batch: images a step, over all processes and micro-batches.
        accumulate: micro-batches a step.
        lr: learning rate for a batch of `lr_per` images; the other rates are scaled with it.
        lr_per: images that the rates are for; 0 takes them as they are. SimMIM and its family say
            512, MAE's family 256.
        schedule: "cosine" and "multistep" are SimMIM's and SG-MIM's, "late_cosine" that of MAE and
            MoCo v3, "inclusive_cosine" that of MultiMAE and DINO (schedules.py),
            "up_and_down" that of MIM-Depth-Estimation, "one_cycle" that of BinsFormer and iDisc,
            "polynomial" the straight line of segmentation, "saw_tooth" the cosine as KAMIM's code
            follows it by mistake, "constant" stays after the warm-up.
        warmup_epochs: epochs of rising rate.
        warmup_steps: of the optimizer, instead of warmup_epochs.
        warmup_lr: rate of the first step.
        min_lr: rate of the last.
        floor_epochs: how many of the epochs come after a cosine has ended, at min_lr.
        laid_over: epochs that a schedule is laid over, of which a run like CroCo's takes only the
            first; 0 is its own.
        milestones: epochs after which a multistep schedule goes down.
        gamma: and by which factor.
        clip: largest norm of a gradient; 0 is no limit.
        clip_each: not of the gradient of all parameters, but of each by itself (DINO).
        last_weight_decay: weight decay of the last step, to which the optimizer's goes by half a
            cosine (DINO); it stays as it is if not given.
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
    schedule: Literal[
        "cosine",
        "multistep",
        "late_cosine",
        "inclusive_cosine",
        "up_and_down",
        "one_cycle",
        "polynomial",
        "saw_tooth",
        "constant",
    ] = "cosine"
    warmup_epochs: float = 10.0
    warmup_steps: int | None = None
    warmup_lr: float = 1e-6
    min_lr: float = 1e-5
    floor_epochs: float = 0.0
    laid_over: float = 0.0
    milestones: tuple[float, ...] = (700.0,)
    gamma: float = 0.1
    clip: float = 5.0
    clip_each: bool = False
    last_weight_decay: float | None = None
    precision: Precision = "auto"
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
        unlimited = ("lr_per", "warmup_epochs", "clip", "ema", "save_every", "pictures_every")
        rest = ("floor_epochs", "laid_over", "warmup_steps", "last_weight_decay")
        for name in (*unlimited, *rest):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ConfigurationError(f"{name} is 0 or more, not {value}")
        if self.ema >= 1:
            raise ConfigurationError(f"a moving average with a decay of {self.ema} never moves")
        if self.floor_epochs >= self.epochs:
            raise ConfigurationError(
                f"floor_epochs={self.floor_epochs:g} are some of the epochs, which are "
                f"{self.epochs:g}: none would be left before them"
            )
        if self.laid_over and self.laid_over < self.epochs:
            raise ConfigurationError(
                f"a schedule laid over {self.laid_over:g} epochs ends before the run, which has "
                f"{self.epochs:g}: leave laid_over out, and say floor_epochs"
            )
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
        return self.steps or max(1, round(self.epochs * self.epoch(images)))

    def steps_of(self, epochs: float, images: int) -> int:
        """Steps of some epochs; at least one of any."""
        return max(1, round(epochs * self.epoch(images))) if epochs else 0

    def schedule_for(self, images: int) -> schedules.Schedule:
        """The learning rate of every step."""
        steps, epoch = self.length(images), self.epoch(images)
        asked = (
            round(self.warmup_epochs * epoch) if self.warmup_steps is None else self.warmup_steps
        )
        warmup = min(asked, steps // 2)
        first, last = self._scaled(self.warmup_lr), self._scaled(self.min_lr)
        steps = max(steps, round(self.laid_over * epoch))
        falling = max(steps - round(self.floor_epochs * epoch), 1)
        match self.schedule:
            case "cosine" | "saw_tooth":
                cosine = schedules.Cosine(
                    lr=self.rate, steps=falling, warmup=warmup, warmup_lr=first, min_lr=last
                )
                if self.schedule == "cosine":
                    return cosine
                return schedules.SawTooth(cosine, epoch=max(round(epoch), 1))
            case "late_cosine" | "inclusive_cosine" | "one_cycle" | "polynomial":
                kinds: dict[str, Callable[..., schedules.Schedule]] = {
                    "late_cosine": schedules.CosineAfterWarmup,
                    "inclusive_cosine": partial(schedules.CosineAfterWarmup, inclusive=True),
                    "one_cycle": schedules.OneCycle,
                    "polynomial": schedules.Polynomial,
                }
                return kinds[self.schedule](
                    lr=self.rate, steps=falling, warmup=warmup, warmup_lr=first, min_lr=last
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

    def weight_decay_for(self, first: float, images: int) -> schedules.Schedule | None:
        """The weight decay of every step, if it changes from the `first`."""
        if self.last_weight_decay is None:
            return None
        return schedules.Cosine(lr=first, min_lr=self.last_weight_decay, steps=self.length(images))

    def epoch(self, images: int) -> float:
        """Steps of a pass over so many images."""
        return max(images // self.micro_batch, 1) / self.accumulate

    def _scaled(self, lr: float) -> float:
        return schedules.scaled_lr(lr, self.batch, per=self.lr_per) if self.lr_per else lr
