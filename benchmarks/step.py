"""How long a full training step takes: forward, backward, clipping, optimizer.

    python benchmarks/step.py [--quick] [--json FILE] [--device cuda] [--compile] [--peak TFLOPS]

All sides do the same work in turns, in one process: image size, architecture (the numbers of
parameters are equal), share of the image hidden, batch, bf16 autocast where the device is faster
in it, gradients clipped at norm 5, AdamW. Ours is training.steps, as every command runs it, and
draws its masks in the step. The peers (peers.py) run in the loop that their documentation shows,
with our optimizer (fused AdamW) and, in rows of its own, with AdamW as it comes.

A row's `value` is the median of ours, `ratio` the median over the rounds of ours / the peer's, and
the middle 80 % of the rounds lie from `low` to `high`. A CPU is measured on one thread, in the
processor's time and not the clock's, which others may share. Memory is what a process of its own
grows to in three steps.

Every method that somebody else has is measured against them: SimMIM and MAE against transformers
and lightly, MoCo v3 and DINO against what lightly has of them (crop_peers.py). SG-MIM is measured
against SimMIM, and with visible patches only against SG-MIM.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter, process_time

import torch
from torch import nn
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode

from cases import SIMMIM_VIT_B, SWIN_B, SWIN_T, SWIN_V2_B, VIT_B, VIT_S, VIT_TI, Case, ours, theirs
from crop_peers import LightlyDINO, LightlyMoCo
from footprint import growth, peak
from peers import Lightly, LightlyMAE, Transformers, TransformersMAE
from sgmim.methods.dino import DINO
from sgmim.methods.mae import MAE
from sgmim.methods.mocov3 import MoCoV3
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.sgmim_visible import VisibleSGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.objective import Objective
from timing import Row, command, in_turns, over, row, told, write

Maker = Callable[[], Iterator[object]]  # of something that takes a step when asked for the next
Peers = tuple[type[nn.Module], ...]

# who else has a method, in a ViT
OF_VITS: dict[type[Objective], Peers] = {
    MAE: (TransformersMAE, LightlyMAE),
    MoCoV3: (LightlyMoCo,),
    DINO: (LightlyDINO,),
}
PEAKS = {"H100": 989, "H200": 989}  # TFLOP/s in bf16 without sparsity, of the SXM cards


def main() -> None:
    parser = command(__doc__, quick="small models, under two minutes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile every side")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the card in bf16, if not known here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    on_gpu = torch.device(options.device).type == "cuda"
    there = {"device": options.device} | ({"batch": 128} if on_gpu else {})
    rounds = 5 if options.quick else 25
    here = [
        replace(case, compiled=options.compile, **there)
        for case in ((SWIN_T, VIT_S) if options.quick else (SWIN_B, VIT_B))
    ]
    jobs = [partial(compared, case, rounds) for case in here]
    jobs += [partial(against, here[1], method, peers, rounds) for method, peers in OF_VITS.items()]
    jobs.append(partial(visible, here[1], rounds))
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
    own: dict[str, Maker] = {
        "SG-MIM": partial(ours, case, SGMIM),
        "twice": partial(ours, case, SGMIM, times=2),
    }
    rows, seconds = raced(case, SimMIM, peers, own, rounds)
    simmim, sgmim, twice = (seconds[name] for name in ("SimMIM", *own))
    space, guided = [peak(partial(ours, case, SimMIM))], [peak(own["SG-MIM"])]
    return [
        *rows,
        row(f"{case}, SG-MIM", guided, "MiB", "SimMIM", over(guided, space)),
        row(f"{case}, SimMIM", milliseconds(simmim), "ms"),
        row(f"{case}, SG-MIM", milliseconds(sgmim), "ms", "SimMIM", over(sgmim, simmim)),
        row(
            f"{case} and twice that, SG-MIM", milliseconds(twice), "ms", "once", over(twice, sgmim)
        ),
    ]


def against(case: Case, method: type[Objective], peers: Peers, rounds: int) -> list[Row]:
    """A method against the peers'."""
    return raced(case, method, peers, {}, rounds)[0]


def raced(
    case: Case, method: type[Objective], peers: Peers, others: dict[str, Maker], rounds: int
) -> tuple[list[Row], dict[str, list[float]]]:
    """A method against the peers', and the seconds of these and of others that take turns."""
    name, fused = method.__name__, partial(AdamW, fused=True)
    own: dict[str, Maker] = {name: partial(ours, case, method)}
    alike: dict[str, Maker] = {p.version: partial(theirs, case, p, fused, method) for p in peers}
    plain: dict[str, Maker] = {
        f"{p.version}, AdamW as it comes": partial(theirs, case, p, AdamW, method) for p in peers
    }
    seconds = timed(own | others | alike | plain, rounds, case.device)
    rates = [case.batch / took for took in seconds[name]]
    faster = {peer: over(seconds[peer], seconds[name]) for peer in (*alike, *plain)}
    space = [peak(own[name])]
    larger = {peer: over(space, [peak(make)]) for peer, make in alike.items()}
    rows = [
        *(row(f"{case}, {name}", rates, "images/s", *peer) for peer in faster.items()),
        *(row(f"{case}, {name}", space, "MiB", *peer) for peer in larger.items()),
    ]
    return rows, seconds


def visible(case: Case, rounds: int) -> list[Row]:
    """SG-MIM whose encoder sees the visible patches alone, against SG-MIM."""
    makers = {kind.__name__: partial(ours, case, kind) for kind in (VisibleSGMIM, SGMIM)}
    new, old = timed(makers, rounds, case.device).values()
    name, faster = f"{case}, SG-MIM, visible patches", over(old, new)
    less, more = ([peak(make)] for make in makers.values())
    return [
        row(name, [case.batch / took for took in new], "images/s", "SG-MIM", faster),
        row(name, less, "MiB", "SG-MIM", over(less, more)),
    ]


def lost(case: Case) -> list[Row]:
    """Memory that does not come back after a step."""
    return [row(f"{case}, SG-MIM, lost", [growth(partial(ours, case, SGMIM))], "MiB a step")]


def reached(case: Case, rounds: int, tflops: float) -> list[Row]:
    """How near SG-MIM comes to what a card can do."""
    seconds = timed({"SG-MIM": partial(ours, case, SGMIM)}, rounds, case.device)["SG-MIM"]
    rates = [case.batch / took for took in seconds]
    shares = [100 * rate * flops(case) / (1e12 * tflops) for rate in rates]
    return [
        row(f"{case}, SG-MIM", rates, "images/s"),
        row(f"{case}, SG-MIM", shares, "% of the bf16 peak"),
    ]


def flops(case: Case) -> int:
    """Of all products in the forward and backward pass of one image."""
    with torch.device("meta"):
        objective = case.objective(SGMIM)
    batch = replace(case, device="meta").data(objective, images=1)
    with FlopCounterMode(display=False) as counter:
        sum(objective(batch).values()).backward()
    return counter.get_total_flops()


def timed(makers: dict[str, Maker], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds that a step takes, round by round."""
    on_gpu = torch.device(device).type == "cuda"

    def step(steps: Iterator[object]) -> None:
        next(steps)
        if on_gpu:
            torch.cuda.synchronize(device)

    sides = {name: partial(step, make()) for name, make in makers.items()}
    return in_turns(sides, rounds, clock=perf_counter if on_gpu else process_time)


def milliseconds(seconds: list[float]) -> list[float]:
    return [1000 * s for s in seconds]


if __name__ == "__main__":
    main()
