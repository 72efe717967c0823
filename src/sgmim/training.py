"""The one loop. It knows batches and losses, and no method by name."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from math import inf
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from sgmim.distributed import bare, sharing
from sgmim.ema import MovingAverage
from sgmim.errors import DataError
from sgmim.layers import take_attention_apart
from sgmim.objective import Batch, Losses, Moment, Objective
from sgmim.precision import faster_in_bf16
from sgmim.schedules import Schedule

Precision = Literal["auto", "bf16", "fp32"]
Cast = Callable[[], AbstractContextManager]  # under which the forward pass runs

PATIENCE = 3  # steps in a row that may fail before a run counts as diverged


class DivergedError(DataError):
    """The gradients of a run are not finite any more: from three steps before the next to `step`,
    at which weights, moments, statistics and average still are what they were before those.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Step:
    """What one step of the optimizer did. The tensors stay on the device; `read` waits for them."""

    number: int  # from 0
    lr: float  # of the parameters with the full rate
    losses: Losses  # means over the micro-batches
    grad_norm: Float[Tensor, ""]  # before clipping
    failed: Float[Tensor, ""]  # steps in a row, up to this one, that changed nothing


def steps(
    objective: Objective | DistributedDataParallel,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    *,
    schedule: Schedule | None = None,
    weight_decay: Schedule | None = None,
    start: int = 0,
    total: int | None = None,
    epoch: float = inf,
    accumulate: int = 1,
    clip: float | None = 5.0,
    clip_each: bool = False,
    precision: Precision = "auto",
    ema: MovingAverage | None = None,
) -> Iterator[Step]:
    """Step through the batches, and yield after each step of the optimizer.

    What to log, when to save and when to stop is for the caller to say, and whether to call
    `objective.compile()` before. Nothing in a step waits for the GPU, given a fused optimizer.

    A step whose loss or gradient is not finite, in any process, is skipped in all of them: weights,
    moments, statistics and average stay as they were. After PATIENCE such steps in a row all that
    follow are skipped, so whenever the caller comes to `read` it, nothing has changed since.

    Args:
        objective: in training mode, on the device of the batches.
        optimizer: its groups may have an "lr_scale".
        batches: one a micro-batch; what is left over at the end makes no step.
        schedule: from step to learning rate; by default the optimizer's stays.
        weight_decay: the same, for the groups that have any (DINO).
        start: number of the first step.
        total: steps of the whole run; unless it is told, what changes with time stays as it begins.
        epoch: steps of a pass over the data.
        accumulate: micro-batches a step. The loss of a step is their mean, so that it equals one
            large batch wherever losses are means over equally many things.
        clip: largest norm of the gradient of a step, over all parameters; None is no limit.
        clip_each: it is that of each parameter's gradient by itself (DINO).
        precision: of the forward pass; "auto" is bf16 where the device is faster in it.
        ema: a moving average to keep up to date.

    Raises:
        ConfigurationError: the batches lack a map that the objective needs.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    device = parameters[0].device
    failed = torch.zeros((), device=device)
    statistics = _statistics(bare(objective))
    schedule = schedule or (lambda step: optimizer.defaults["lr"])
    batches = _checked(batches, bare(objective))
    cast = casting(objective, device, precision)
    for number in count(start):
        if total is not None:
            bare(objective).begin(Moment(number, total, number / epoch))
        _set_rates(optimizer, schedule(number), weight_decay(number) if weight_decay else None)
        optimizer.zero_grad()
        before = [statistic.clone() for statistic in statistics]
        losses = _backward(objective, batches, accumulate, cast)
        if losses is None:
            return
        grad_norm = _grad_norm(parameters)
        good = grad_norm.isfinite() & (failed < PATIENCE)
        failed = torch.where(good, 0.0, failed + 1)
        if clip is not None and clip_each:
            _clip_each(parameters, clip)
        _update(optimizer, parameters, grad_norm, good, None if clip_each else clip)
        for statistic, old in zip(statistics, before, strict=True):
            statistic.copy_(torch.where(good, statistic, old))
        bare(objective).follow(good)
        if ema is not None:
            ema.update(bare(objective), good)
        yield Step(number, schedule(number), losses, grad_norm, failed)


def read(step: Step) -> dict[str, float]:
    """Losses, their sum, gradient norm and rate as numbers. This waits for the GPU: to log only.

    Raises:
        DivergedError: the run has failed PATIENCE steps in a row.
    """
    waited_for = {**step.losses, "grad_norm": step.grad_norm, "failed": step.failed}
    values = torch.stack([tensor.float() for tensor in waited_for.values()]).tolist()
    numbers = dict(zip(waited_for, values, strict=True))
    failed = int(numbers.pop("failed"))
    if failed >= PATIENCE:
        last = step.number - (failed - PATIENCE)
        losses = ", ".join(f"{name} {numbers[name]:.4g}" for name in step.losses)
        raise DivergedError(
            f"training diverged: up to step {last} loss or gradient were not finite {PATIENCE} "
            f"times in a row (losses now: {losses}), and the weights are those before that. Go on "
            f"in a new folder with a lower learning rate (it was {step.lr:.3g}) or in fp32, or "
            "look for values in the data that are not finite",
            last,
        )
    return {"loss": sum(numbers[name] for name in step.losses), **numbers, "lr": step.lr}


def casting(objective: nn.Module, device: torch.device, precision: Precision) -> Cast:
    """What the forward pass runs under; where bf16 asks for it, attention is taken apart."""
    if precision == "fp32" or (precision == "auto" and not faster_in_bf16(device)):
        return nullcontext
    if slow_when_fused(device):
        take_attention_apart(objective)
    return partial(torch.autocast, device.type, torch.bfloat16)


def slow_when_fused(device: torch.device) -> bool:
    """Whether torch's fused attention takes longer in bf16 than its parts one after the other.

    Measured without AMX, forward and backward of one layer of ViT-B on 4 images: 29 ms against 9.
    """
    return device.type == "cpu" and not torch.cpu.get_capabilities().get("amx_bf16", False)


def _checked(batches: Iterable[Batch], objective: Objective) -> Iterator[Batch]:
    for number, batch in enumerate(batches):
        if number == 0:
            objective.check(set(batch))
        yield batch


def _set_rates(optimizer: Optimizer, lr: float, weight_decay: float | None) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        if weight_decay is not None and group["weight_decay"] > 0:
            group["weight_decay"] = weight_decay


def _backward(
    objective: Objective | DistributedDataParallel,
    batches: Iterator[Batch],
    accumulate: int,
    cast: Cast,
) -> Losses | None:
    """Gather the gradients of one step; None if the batches end before it is whole."""
    total: Losses = {}
    done = 0
    for done, batch in enumerate(islice(batches, accumulate), 1):
        with sharing(objective, now=done == accumulate):
            with cast():
                losses = objective(batch)
            losses = {name: loss.float() / accumulate for name, loss in losses.items()}
            _backward_from(sum(losses.values()))
        total = {name: total.get(name, 0.0) + loss.detach() for name, loss in losses.items()}
    return total if done == accumulate else None


def _backward_from(loss: Tensor) -> None:
    """A loss that is not finite makes no gradient finite, so that every process comes to know."""
    loss.backward(torch.where(loss.detach().isfinite(), 1.0, torch.nan))


def _statistics(objective: Objective) -> list[Tensor]:
    """What a forward pass may change: the buffers that are saved, such as a batch norm's."""
    saved = objective.state_dict().keys()
    return [buffer for name, buffer in objective.named_buffers() if name in saved]


def _grad_norm(parameters: list[Tensor]) -> Float[Tensor, ""]:
    # in a function of its own: a list that outlived the step would keep its gradients from being
    # freed before the next forward pass
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm  # of all processes' shares


def _clip_each(parameters: list[Tensor], clip: float) -> None:
    """Let no parameter's gradient be longer, each measured by itself (DINO, utils.py)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    for gradient, norm in zip(gradients, torch._foreach_norm(gradients), strict=True):
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        gradient.mul_((clip / (whole + 1e-6)).clamp(max=1))


def _update(
    optimizer: Optimizer,
    parameters: list[Tensor],
    grad_norm: Float[Tensor, ""],
    good: Bool[Tensor, ""],
    clip: float | None,
) -> None:
    """Step along the clipped gradient, or do nothing where it is no good.

    A fused kernel looks for itself and divides on its way, told as torch's own gradient scaler
    tells it: so nobody waits, and the gradients are not gone through once more. For any other
    optimizer the answer has to be waited for.
    """
    if optimizer.defaults.get("fused"):
        excess = torch.ones_like(grad_norm) if clip is None else (grad_norm + 1e-6) / clip
        optimizer.grad_scale = excess.clamp(min=1)  # type: ignore[attr-defined]
        optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]
    elif not good:
        return
    elif clip is not None:
        clip_grads_with_norm_(parameters, clip, grad_norm)
    optimizer.step()
