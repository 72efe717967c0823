"""Which part of a step is the first to be not finite: its data, weights, outputs or gradients."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from sgmim.data.views import VIEWS
from sgmim.draws import seeded
from sgmim.errors import listed
from sgmim.objective import Batch, Objective
from sgmim.training import Cast, Precision, casting


def examine(
    objective: Objective,
    batches: Sequence[Batch],
    *,
    first: int,
    seed: int,
    rank: int = 0,
    precision: Precision = "auto",
    names: Mapping[str, str] | None = None,
    **_: Any,
) -> list[str]:
    """What is first not finite in a step: values of the batch, weights, outputs, losses, gradients.

    Nothing where all of it is finite. Gradients are left on the objective.
    """
    strange = [name for name, p in objective.named_parameters() if not p.isfinite().all()]
    lines = [f"weights: not finite in {listed(strange, 5)}"] if strange else []
    for batch in batches:
        lines += _strange_values(batch, names or {})
    failed = _step(objective, batches, first, seed, rank, precision)
    if failed and _cast(objective, precision) is not nullcontext:
        again = _step(objective, batches, first, seed, rank, "fp32")
        failed.append("in fp32: " + ("not finite either" if again else "all of it is finite"))
    return lines + failed if failed else []


def _step(
    objective: Objective,
    batches: Sequence[Batch],
    first: int,
    seed: int,
    rank: int,
    precision: Precision,
) -> list[str]:
    lines: list[str] = []
    objective.zero_grad()
    cast = _cast(objective, precision)
    for number, batch in enumerate(seeded(batches, seed, start=first, rank=rank)):
        with _followed(objective) as outputs, cast():
            losses = objective(batch)
        told = ", ".join(f"{name} {loss.item():.4g}" for name, loss in losses.items())
        if not all(loss.isfinite() for loss in losses.values()):
            lines += [*outputs[:1], f"losses of micro-batch {number}: {told}"]
            continue
        with _followed_back(objective) as gradients:
            sum(loss.float() for loss in losses.values()).backward()
        if gradients:
            lines += [*outputs[:1], f"losses of micro-batch {number}: {told}"]
            lines.append(f"gradients: not finite from {gradients[0]} on, in {len(gradients)}")
    return lines


@contextmanager
def _followed(objective: nn.Module) -> Iterator[list[str]]:
    """Which modules gave what is not finite, in the order in which they were done."""
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        bad = sum(int((~t.isfinite()).sum()) for t in _tensors(output))
        if bad:
            total = sum(t.numel() for t in _tensors(output))
            found.append(f"outputs: {name} is the first, not finite in {bad} of {total} values")

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in objective.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _followed_back(objective: nn.Module) -> Iterator[list[str]]:
    """Which parameters got a gradient that is not finite, from the loss back."""
    found: list[str] = []

    def look(name: str, parameter: Tensor) -> None:
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            found.append(name)

    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: look(name, p))
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _strange_values(batch: Batch, names: Mapping[str, str]) -> Iterator[str]:
    """Samples whose image is not finite; or whose maps are not, where NaN says 'not known'."""
    for kind, values in batch.items():
        if not values.is_floating_point():
            continue
        is_image = kind in ("image", *VIEWS)
        bad = ~values.isfinite() if is_image else values.isinf()
        for place in bad.flatten(1).any(dim=1).nonzero().flatten().tolist():
            index = str(int(batch["index"][place])) if "index" in batch else str(place)
            count = int(bad[place].sum())
            yield f"batch: {kind} of {names.get(index, f'sample {index}')} in {count} values"


def _cast(objective: Objective, precision: Precision) -> Cast:
    return casting(objective, next(objective.parameters()).device, precision)


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = list(output.values()) if isinstance(output, Mapping) else output
    return [t for part in parts for t in _tensors(part)] if isinstance(parts, list | tuple) else []
