"""What a step of a method takes: time, work and memory, of several beside each other."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import perf_counter, process_time

import torch
from torch.utils.flop_counter import FlopCounterMode

from sgmim import training
from sgmim.assembly import Run, prepare
from sgmim.layers import take_attention_apart
from sgmim.objective import Batch

ROUNDS = 7  # in which each takes its turn, so that all see the same weather
STEPS = 3  # of each, a round
SCENES = 64  # that are made for it


@dataclass(frozen=True)
class Cost:
    """Of one step, an image.

    milliseconds: median over rounds; on a CPU, of the processor's time.
    gigaflops: 10^9 operations of forward and backward pass; a multiplication and an addition are 2.
    bytes: that the forward pass keeps for the backward pass, in fp32.
    """

    milliseconds: float
    gigaflops: float
    bytes: int


def measure(asked: Mapping[str, Sequence[str]], device: str = "auto") -> dict[str, Cost]:
    """The cost of pre-trainings, by name: the words after 'sgmim pretrain' of each, which are
    trained for a few steps on scenes and write nothing."""
    runs = {name: _prepared([*words, f"--device={device}"]) for name, words in asked.items()}
    batches = {name: next(iter(run.batches(0))) for name, run in runs.items()}
    work = {name: _work(run, batches[name]) for name, run in runs.items()}
    steppers = {name: _steps(run, batches[name]) for name, run in runs.items()}
    for stepper in steppers.values():
        next(stepper)  # the first is slower
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, stepper in steppers.items():
            _wait(runs[name])
            clock = process_time if runs[name].batches.device.type == "cpu" else perf_counter
            began = clock()
            for _ in islice(stepper, STEPS):
                pass
            _wait(runs[name])
            seconds[name].append((clock() - began) / STEPS)
    return {
        name: Cost(1000 * median(seconds[name]) / run.plan.micro_batch, work[name], run.activations)
        for name, run in runs.items()
    }


def _prepared(words: Sequence[str]) -> Run:
    asked = [word for word in words if not word.startswith(("--data.images", "--data.maps"))]
    size = [f"--data.scenes={SCENES}", "--batches.workers=0"]
    run = prepare("pretrain", "methods", "method", [*asked, *size])
    run.objective.train()
    return run


def _work(run: Run, batch: Batch) -> float:
    model = copy.deepcopy(run.objective)
    take_attention_apart(model)  # the counter does not know what is fused on a CPU
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(model(batch).values())).sum().backward()
    return counter.get_total_flops() / len(batch["image"]) / 1e9


def _steps(run: Run, batch: Batch):
    def same():
        while True:
            yield batch

    return training.steps(
        run.objective,
        run.optimizer,
        same(),
        schedule=run.plan.schedule_for(len(run.source)),
        clip=run.plan.clip or None,
        precision=run.plan.precision,
    )


def _wait(run: Run) -> None:
    if run.batches.device.type == "cuda":
        torch.cuda.synchronize(run.batches.device)
