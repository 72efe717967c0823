"""Numbers that are not finite turn up at four places of a step, in one of two processes."""

import math
import os
import random
import socket

import pytest
import torch
from torch import multiprocessing
from torch.testing import assert_close

from sgmim import distributed
from sgmim.doctor.diagnosis import examine
from sgmim.ema import MovingAverage
from sgmim.optim import adamw
from sgmim.training import PATIENCE, DivergedError, read, steps
from toys import batches, micro, toy

pytestmark = pytest.mark.slow

PLACES = ("data", "output", "loss", "gradient")
EACH = 25
WORLD = 2
STEPS = 8


class Poison:
    """Makes a number of some micro-batches not finite, at one place of what the toy does."""

    def __init__(self, objective, place, numbers, value):
        self.place, self.numbers, self.value, self.number = place, numbers, value, -1
        objective.register_forward_pre_hook(self.before)
        objective.register_forward_hook(self.after)
        objective.encoder.register_forward_hook(self.inside)
        objective.head.weight.register_hook(self.behind)

    def now(self, place):
        return self.place == place and self.number in self.numbers

    def before(self, module, inputs):
        self.number += 1
        if self.now("data"):
            inputs[0]["image"].flatten()[5] = self.value

    def inside(self, module, inputs, output):
        return output + self.value if self.now("output") else output

    def after(self, module, inputs, losses):
        return losses | {"far": losses["far"] * self.value} if self.now("loss") else losses

    def behind(self, gradient):
        return gradient + self.value if self.now("gradient") else gradient


def state(objective, optimizer, ema):
    parts = (objective.state_dict(), optimizer.state_dict()["state"], ema.objective.state_dict())
    return [
        {name: tensor.clone() for name, tensor in part.items()} for part in (parts[0], parts[2])
    ] + [{k: {n: t.clone() for n, t in v.items()} for k, v in parts[1].items()}]


def attempt(place, draw, rank):
    """One run in which a process fails at some steps; whether all went as promised."""
    culprit, accumulate = draw.randrange(WORLD), draw.choice([1, 2])
    first, lasting = draw.randrange(1, 4), draw.choice([1, 2, PATIENCE, PATIENCE + 1])
    bad = range(first, first + lasting)
    value, part = draw.choice([math.nan, math.inf, -math.inf]), draw.randrange(accumulate)
    objective = toy(dropout=0.2)
    if rank == culprit:
        numbers = {step * accumulate + part for step in bad}
        Poison(objective, place, numbers, value)
    optimizer, ema = adamw(objective, lr=1e-2), MovingAverage(objective, decay=0.5)
    data = [
        micro(b, WORLD)[rank] for whole in batches(STEPS, size=16) for b in micro(whole, accumulate)
    ]
    options = {"ema": ema, "accumulate": accumulate, "precision": "fp32"}
    before, good = state(objective, optimizer, ema), True
    stuck = first + PATIENCE - 1 if lasting >= PATIENCE else math.inf
    for step in steps(distributed.wrap(objective), optimizer, data, **options):
        after, skipped = state(objective, optimizer, ema), step.number in bad or step.number > stuck
        good &= skipped == (step.failed > 0) == same(after, before)
        before = after
    try:
        read(step)
        return good and stuck == math.inf
    except DivergedError as error:
        return good and error.step == stuck


def same(one, other):
    if len(one[2]) != len(other[2]):  # moments, of which there are none before the first step
        return False
    try:
        assert_close(one, other, rtol=0, atol=0)
    except AssertionError:
        return False
    return True


def work(rank, port, folder):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start("cpu")
    kept = {}
    for place in PLACES:
        draw = random.Random(place)
        kept[place] = [attempt(place, draw, rank) for _ in range(EACH)]
    torch.save(kept, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.stop()


def test_what_is_not_finite_in_one_process_is_skipped_in_all_and_stops_after_three(
    tmp_path, recorded
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (port, tmp_path), nprocs=WORLD)
    seen = [torch.load(tmp_path / f"{rank}.pt") for rank in range(WORLD)]
    kept = sum(all(process[place][n] for process in seen) for place in PLACES for n in range(EACH))
    recorded(
        "NaN/Inf",
        f"in {', '.join(PLACES)}, in one of 2 processes: skipped in both in the same step, nothing "
        "moves, three in a row stop the run",
        len(PLACES) * EACH,
        kept,
    )


def test_a_captured_step_fails_again_and_the_place_is_named(recorded):
    draw, kept = random.Random(0), 0
    for number in range(EACH):
        (batch,) = batches(1)
        batch["index"] = torch.arange(4) + 7
        objective, value = toy(), draw.choice([math.nan, math.inf])
        if number % 2:
            batch["image"][draw.randrange(4), 0, 0, 0] = value
            expected = "batch: image of sample"
        else:
            objective.head.bias.data[3] = value
            expected = "weights: not finite in head.bias"
        told = examine(objective, [batch], first=draw.randrange(100), seed=draw.randrange(100))
        first = "encoder.backbone" if number % 2 else "head"
        kept += told[0].startswith(expected) and f"outputs: {first} is the first" in told[1]
    assert examine(toy(), list(batches(1)), first=0, seed=0) == []
    recorded("NaN/Inf", "a replay fails again and names the place", EACH, kept)
