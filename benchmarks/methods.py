"""What a step of every method costs on one encoder: work, memory and time, beside SimMIM's.

    python benchmarks/methods.py [--quick] [--json FILE] [--device cuda] [--recipes NAME...]

Every method comes in its defaults, or as recipes have it, with noise for all that it needs. Work is
counted: floating point operations of all products in the forward and backward pass of one image (of
all its views). Memory is counted, as what a forward pass keeps for the backward pass in fp32, and
measured, as what a process of its own grows to in three steps. Time is that of training.steps, in
turns, in bf16 where the device is faster in it; a CPU is measured on one thread, in the processor's
time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import repeat
from time import perf_counter, process_time
from typing import Any

import torch
from jsonargparse import Namespace
from torch.utils.flop_counter import FlopCounterMode

from footprint import peak
from sgmim import memory, optim, training
from sgmim.encoders import make_encoder
from sgmim.objective import Batch, Objective
from sgmim.options import build, contents
from sgmim.request import read
from timing import Row, command, in_turns, over, row, told, write

FIRST = "simmim"  # what the others are compared with
PARTS = 8  # small crops of an image, as DINO has
CHANNELS = {"image": 3, "view": 3, "second": 3, "normals": 3}  # of other maps: 1


@dataclass(frozen=True)
class Setting:
    encoder: str
    size: int  # pixels a side
    part: int  # pixels a side of a small crop
    batch: int
    device: str = "cpu"

    def objective(self, name: str) -> Objective:
        method: Any = contents("methods")[name]
        return method(make_encoder(self.encoder, image_size=self.size))

    def batch_for(self, objective: Objective, images: int, device: str) -> Batch:
        """Noise, of everything that it needs."""
        torch.manual_seed(0)
        batch = {
            name: torch.rand(images, CHANNELS.get(name, 1), self.size, self.size)
            for name in objective.needs
        }
        for name in objective.limits:
            batch[name] = (9 * batch[name]).floor()
        if "parts" in batch:
            batch["parts"] = torch.rand(images, PARTS, 3, self.part, self.part)
        batch["key"] = torch.arange(images)
        return {name: value.to(device) for name, value in batch.items()}

    def steps(self, name: str) -> Iterator[training.Step]:
        objective = self.objective(name).to(self.device)
        optimizer = optim.adamw(objective, lr=1e-4)
        batch = self.batch_for(objective, self.batch, self.device)
        return training.steps(objective, optimizer, repeat(batch), total=1000)

    def __str__(self) -> str:
        return f"{self.encoder.partition('_patch')[0]} at {self.size}"


@dataclass(frozen=True)
class OfRecipes(Setting):
    """Methods and encoders as recipes have them, at the size and batch of the first."""

    @classmethod
    def of(cls, names: list[str], device: str) -> "OfRecipes":
        _, config = _asked(names[0])
        size = config.encoder.image_size
        return cls(config.encoder.name, size, size // 2, config.training.batch, device)

    def objective(self, name: str) -> Objective:
        method, config = _asked(name)
        return build("methods", method, make_encoder(**config.encoder.as_dict()), config.method)


@cache
def _asked(recipe: str) -> tuple[str, Namespace]:
    return read("pretrain", "methods", "method", [f"--recipe={recipe}"])


BASE = Setting("vit_base_patch16_224", 224, 96, 4)
SMALL = Setting("vit_tiny_patch16_224", 96, 48, 8)


def main() -> None:
    parser = command(__doc__, quick="a ViT-Ti at 96 pixels, a minute")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--recipes", nargs="+", help="these; others are compared with the first")
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = SMALL if options.quick else BASE
    names = sorted(contents("methods"), key=lambda name: name != FIRST)
    if options.recipes:
        names, setting = options.recipes, OfRecipes.of(options.recipes, options.device)
    elif torch.device(options.device).type == "cuda":
        setting = Setting(BASE.encoder, BASE.size, BASE.part, 128, options.device)
    rows = [one for name in names for one in counted(setting, name)]
    print(*map(told, rows), sep="\n", flush=True)
    new = timed(setting, names, rounds=5 if options.quick else 10)
    print(*map(told, new), sep="\n", flush=True)
    write(rows + new, options.json)


def counted(setting: Setting, name: str) -> list[Row]:
    """Parameters, work and memory of one image."""
    with torch.device("meta"):
        objective = setting.objective(name)
    batch = setting.batch_for(objective, 2, "meta")  # of one image a batch norm has no deviation
    sizes = {p: p.numel() for p in objective.parameters()}
    own = sum(parameter.numel() for parameter in objective.encoder.parameters())
    kept = memory.activations(objective, batch)
    with FlopCounterMode(display=False) as counter:
        sum(objective(batch).values()).backward()
    title = f"{setting}, {name}"
    return [
        row(title, [own / 1e6], "M parameters of the encoder"),
        row(title, [sum(sizes.values()) / 1e6 - own / 1e6], "M other parameters"),
        row(title, [counter.get_total_flops() / 2e9], "GFLOP an image"),
        row(title, [kept / memory.MIB], "MiB of activations an image, fp32"),
    ]


def timed(setting: Setting, names: list[str], rounds: int) -> list[Row]:
    """Time of a step and memory of a process."""
    on_gpu = torch.device(setting.device).type == "cuda"

    def step(steps: Iterator[training.Step]) -> None:
        next(steps)
        if on_gpu:
            torch.cuda.synchronize(setting.device)

    sides = {name: partial(step, setting.steps(name)) for name in names}
    seconds = in_turns(sides, rounds, clock=perf_counter if on_gpu else process_time)
    first, rows = seconds[names[0]], []
    for name, took in seconds.items():
        title = f"{setting}, batch {setting.batch}, {name}"
        compared = (names[0], over(took, first)) if name != names[0] else ()
        rows.append(row(title, [1000 * s for s in took], "ms a step", *compared))
        rows.append(row(title, [peak(partial(setting.steps, name))], "MiB a process grows by"))
    return rows


if __name__ == "__main__":
    main()
