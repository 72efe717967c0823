"""How long a full training step takes: forward, backward, clipping, optimizer.

    python benchmarks/step.py [--quick] [--json FILE] [--device cuda] [--compile] [--peak TFLOPS]

All sides do the same work in turns, in one process: image size, architecture (the numbers of
parameters are equal), share of the image hidden, batch, bf16 autocast where the device is faster
in it, gradients clipped at norm 5, AdamW. Ours is training.steps, as every command runs it, and
draws its masks in the step. The peers (peers.py) run in the loop that their documentation shows:
with our optimizer (fused), and once "as it comes", with torch.optim.AdamW as their examples have it.

A row's `value` is the median of ours, `ratio` the median over the rounds of ours / the peer's, and
the middle 80 % of the rounds lie from `low` to `high`. Memory is what a process of its own grows to
in three steps.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer
from torch.utils.flop_counter import FlopCounterMode

from footprint import growth, peak
from peers import Lightly, Transformers
from sgmim import optim, training
from sgmim.encoders import make_encoder
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.objective import Batch, Objective
from timing import Row, in_turns, over, row, told, write

Steps = Iterator[object]  # takes one step whenever it is asked for the next
Makers = dict[str, Callable[[], Steps]]

PEAKS = {"H100": 989, "H200": 989}  # TFLOP/s in bf16 without sparsity, of the SXM cards


@dataclass(frozen=True)
class Case:
    """A backbone, how much of it at once, and where."""

    name: str
    encoder: str
    size: int  # pixels a side of an image
    batch: int
    window: int | None = None
    device: str = "cpu"
    compiled: bool = False

    def objective(self, method: type[Objective]) -> Objective:
        return method(make_encoder(self.encoder, image_size=self.size, window=self.window))

    def data(self, objective: Objective, images: int) -> Batch:
        """Noise, with what is hidden of it for those who want to be told."""
        drawn = torch.arange(images)
        image, depth = torch.randn(images, 4, self.size, self.size).split([3, 1], dim=1)
        hidden = objective.mask(drawn).flatten(1)
        batch = {"image": image, "depth": depth, "key": drawn, "hidden": hidden}
        return {name: tensor.contiguous().to(self.device) for name, tensor in batch.items()}

    def __str__(self) -> str:
        return f"{self.name}, batch {self.batch}" + ", compiled" * self.compiled


SWIN_B = Case("Swin-B", "swin_base_patch4_window7_224", 192, 2, window=6)
SWIN_V2_B = Case("SwinV2-B", "swinv2_base_window12_192", 192, 2)
VIT_B = Case("ViT-B", "vit_base_patch16_224", 224, 4)
SIMMIM_VIT_B = Case("SimMIM's ViT-B", "simmim_vit_base_patch16", 224, 4)
SWIN_T = Case("Swin-T", "swin_tiny_patch4_window7_224", 192, 4, window=6)
VIT_S = Case("ViT-S", "vit_small_patch16_224", 224, 4)
VIT_TI = Case("ViT-Ti at 64 pixels", "vit_tiny_patch16_224", 64, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small models, under two minutes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile every side")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the card in bf16, if not known here")
    options = parser.parse_args()
    on_gpu = torch.device(options.device).type == "cuda"
    there = {"device": options.device} | ({"batch": 128} if on_gpu else {})
    rounds = 10 if options.quick else 25
    jobs = [
        partial(compared, replace(case, compiled=options.compile, **there), rounds)
        for case in ((SWIN_T, VIT_S) if options.quick else (SWIN_B, VIT_B))
    ]
    jobs.append(partial(lost, replace(VIT_TI, device=options.device)))
    if on_gpu:
        card = torch.cuda.get_device_name(options.device)
        tflops = options.peak or next(PEAKS[name] for name in PEAKS if name in card)
        jobs += [
            partial(reached, replace(case, compiled=compiled, **there), rounds, tflops)
            for case in (SWIN_B, SWIN_V2_B, VIT_B, SIMMIM_VIT_B)
            for compiled in (False, True)
        ]
    rows: list[Row] = []
    for job in jobs:
        rows += (new := job())
        print(*map(told, new), sep="\n", flush=True)
    write(rows, options.json)


def compared(case: Case, rounds: int) -> list[Row]:
    """SimMIM against the peers', SG-MIM against SimMIM, twice the batch against once."""
    peers = (Transformers, Lightly) if case.encoder.startswith("vit") else (Transformers,)
    makers: Makers = {
        "SimMIM": partial(ours, case, SimMIM),
        "SG-MIM": partial(ours, case, SGMIM),
        "twice": partial(ours, case, SGMIM, times=2),
    }
    others: Makers = {
        peer.version + suffix: partial(theirs, case, peer, optimizer)
        for peer in peers
        for suffix, optimizer in {"": partial(AdamW, fused=True), ", as it comes": AdamW}.items()
    }
    seconds = timed(makers | others, rounds, case.device)
    simmim, sgmim, twice = (seconds[name] for name in makers)
    rates = [case.batch / took for took in simmim]
    taken = {name: peak(make) for name, make in (makers | others).items() if " as " not in name}
    space = [taken["SimMIM"]]
    return [
        *(
            row(f"{case}, SimMIM", rates, "images/s", name, over(seconds[name], simmim))
            for name in others
        ),
        *(
            row(f"{case}, SimMIM", space, "MiB", name, over(space, [taken[name]]))
            for name in others
            if name in taken
        ),
        row(f"{case}, SG-MIM", [taken["SG-MIM"]], "MiB", "SimMIM", over([taken["SG-MIM"]], space)),
        row(f"{case}, SimMIM", milliseconds(simmim), "ms"),
        row(f"{case}, SG-MIM", milliseconds(sgmim), "ms", "SimMIM", over(sgmim, simmim)),
        row(f"{case}, SG-MIM at twice", milliseconds(twice), "ms", "once", over(twice, sgmim)),
    ]


def lost(case: Case) -> list[Row]:
    """Memory that does not come back after a step."""
    return [row(f"{case}, SG-MIM, lost memory", [growth(partial(ours, case, SGMIM))], "MiB a step")]


def reached(case: Case, rounds: int, tflops: float) -> list[Row]:
    """How near SG-MIM comes to what a card can do."""
    seconds = timed({"": partial(ours, case, SGMIM)}, rounds, case.device)[""]
    rates = [case.batch / took for took in seconds]
    shares = [100 * rate * flops(case) / tflops / 1e12 for rate in rates]
    return [
        row(f"{case}, SG-MIM", rates, "images/s"),
        row(f"{case}, SG-MIM", shares, "% of the bf16 peak"),
    ]


def flops(case: Case) -> int:
    """Of matrix products in the forward and backward pass of one image."""
    with torch.device("meta"):
        objective = case.objective(SGMIM)
    batch = replace(case, device="meta").data(objective, images=1)
    with FlopCounterMode(display=False) as counter:
        sum(objective(batch).values()).backward()
    return counter.get_total_flops()


def ours(case: Case, method: type[Objective], times: int = 1) -> Steps:
    """Steps on the batch, or on several times the batch."""
    objective = case.objective(method).to(case.device)
    batch = case.data(objective, times * case.batch)
    optimizer = optim.adamw(objective, lr=1e-4)
    if case.compiled:
        objective.compile()
    return training.steps(objective, optimizer, repeat(batch))


def theirs(case: Case, peer: type[nn.Module], optimizer: Callable[..., Optimizer]) -> Steps:
    """Steps of a peer, in the loop that everybody writes."""
    simmim, device = case.objective(SimMIM), torch.device(case.device)
    model = peer(simmim.encoder).to(device)
    assert parameters(model) == parameters(simmim), "not the same architecture"
    batch, chosen = case.data(simmim, case.batch), optimizer(model.parameters(), lr=1e-4)
    del simmim
    if case.compiled:
        model.compile()
    while True:
        chosen.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, training.faster_in_bf16(device)):
            loss = model(batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), 5.0)
        chosen.step()
        yield loss.detach()


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def timed(makers: Makers, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds that a step takes, round by round."""

    def step(steps: Steps) -> None:
        next(steps)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    return in_turns({name: partial(step, make()) for name, make in makers.items()}, rounds)


def milliseconds(seconds: list[float]) -> list[float]:
    return [1000 * s for s in seconds]


if __name__ == "__main__":
    main()
