"""How the learning rate of a run goes up and down: a schedule turns a step, from 0, into a rate.

All lengths are optimizer steps: an epoch of a recipe is `steps_per_epoch` of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

Schedule = Callable[[int], float]


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """The 100-epoch runs of SimMIM and SG-MIM, and SimMIM's fine-tuning.

    The cosine counts from step 0, so the rate drops as the warm-up ends: there it is
    min_lr + (lr - min_lr) / 2 * (1 + cos(pi * warmup / steps)), not `lr`.
    """

    lr: float
    steps: int
    warmup: int = 0
    warmup_lr: float = 0.0  # of the first step
    min_lr: float = 0.0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _line(self.warmup_lr, self.lr, step / self.warmup)
        return half_cosine(self.lr, self.min_lr, step / self.steps)


@dataclass(frozen=True, kw_only=True)
class CosineAfterWarmup:
    """MAE, CroCo and MoCo v3; with `inclusive`, MultiMAE and DINO."""

    lr: float
    steps: int
    warmup: int = 0
    warmup_lr: float = 0.0  # of the first step
    min_lr: float = 0.0
    inclusive: bool = False  # the warm-up's last step has `lr` already, which then comes twice

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            top = max(self.warmup - 1, 1) if self.inclusive else self.warmup
            return _line(self.warmup_lr, self.lr, step / top)
        way = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return half_cosine(self.lr, self.min_lr, way)


@dataclass(frozen=True, kw_only=True)
class Multistep:
    """The 800-epoch runs of SimMIM and SG-MIM: level, then `gamma` times it at each milestone."""

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1
    warmup: int = 0
    warmup_lr: float = 0.0  # of the first step

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _line(self.warmup_lr, self.lr, step / self.warmup)
        return self.lr * self.gamma ** sum(milestone <= step for milestone in self.milestones)


@dataclass(frozen=True, kw_only=True)
class UpAndDown:
    """Depth fine-tuning of MIM-Depth-Estimation: up over the first half, down over the second.

    Of an odd number of epochs the authors leave the last out of `steps`: it has `min_lr`.
    """

    lr: float
    steps: int
    min_lr: float = 0.0
    power: float = 0.9

    def __call__(self, step: int) -> float:
        way = (step + 1) / (self.steps // 2)  # the authors count steps from 1
        if way < 1:
            return self.min_lr + (self.lr - self.min_lr) * way**self.power
        return max(self.min_lr, self.lr - (self.lr - self.min_lr) * (way - 1) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Segmentation as mmsegmentation trains it: a linear warm-up, then a power of what is left.

    As there, the warm-up's last step has `lr` already, which then comes twice, and the last step
    of all has `min_lr`.
    """

    lr: float
    steps: int
    warmup: int = 0
    warmup_lr: float = 0.0  # of the first step
    min_lr: float = 0.0
    power: float = 1.0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _line(self.warmup_lr, self.lr, step / max(self.warmup - 1, 1))
        way = (step - self.warmup) / max(self.steps - self.warmup - 1, 1)
        return _line(self.min_lr, self.lr, (1 - min(way, 1.0)) ** self.power)


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Depth with BinsFormer and iDisc: half a cosine up, half a cosine down, as torch's OneCycleLR.

    The rate alone: torch can have the momentum go the other way meanwhile, here it stays.
    """

    lr: float
    steps: int
    warmup: int = 0  # steps up to `lr`: pct_start * total_steps in torch
    warmup_lr: float = 0.0  # of the first step: lr / div_factor
    min_lr: float = 0.0  # of the last step: lr / div_factor / final_div_factor

    def __call__(self, step: int) -> float:
        top = max(self.warmup - 1, 0)  # the step that has `lr`
        if step < top:
            return half_cosine(self.warmup_lr, self.lr, step / top)
        return half_cosine(self.lr, self.min_lr, (step - top) / max(self.steps - 1 - top, 1))


@dataclass(frozen=True)
class OneStepLate:
    """A schedule as SimMIM's own loop follows it, for runs that are to equal the authors'.

    There the rate is set after the optimizer's step: every step has its predecessor's rate, and
    the first rate comes twice.
    """

    schedule: Schedule

    def __call__(self, step: int) -> float:
        return self.schedule(max(step - 1, 0))


@dataclass(frozen=True)
class SawTooth:
    """A schedule as KAMIM's own loop follows it, for runs that are to equal the authors'.

    There the rate is set after every step of the optimizer to that of step
    epoch * steps + micro-batch: with two micro-batches a step each epoch runs through two epochs of
    the schedule, and the next begins where this one was half-way.
    """

    schedule: Schedule
    epoch: int  # steps of one
    micro_batches: int = 2  # a step has, in the authors' runs; it need not be so here

    def __call__(self, step: int) -> float:
        if step == 0:
            return self.schedule(0)
        epoch, place = divmod(step - 1, self.epoch)
        return self.schedule(epoch * self.epoch + (place + 1) * self.micro_batches - 1)


def scaled_lr(base: float, batch: int, *, per: int = 512) -> float:
    """The rate for a batch of this many images over all devices and accumulated micro-batches.

    SimMIM and its family give their rates `per` 512 images; MAE, MultiMAE, CroCo, MoCo v3 and
    DINO per 256. Of SimMIM's, the warm-up and the smallest rate are scaled as well.
    """
    return base * batch / per


def _line(start: float, end: float, way: float) -> float:
    return start + (end - start) * way


def half_cosine(start: float, end: float, way: float) -> float:
    """From start to end, level at both, when it is `way` (0 to 1) through."""
    return end + (start - end) / 2 * (1 + cos(pi * min(way, 1.0)))
