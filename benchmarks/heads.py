"""How long heads take, forward and in a training step: ours against Hugging Face's decoders.

    python benchmarks/heads.py [--quick] [--json FILE] [--device cuda]

Both sides are given the same features, as their own encoders lay them out, and have the same
numbers of parameters; encoders take no part. Sides take turns in one process, in bf16 autocast
where the device is faster in it. A step is a forward pass with every output that is trained, the
backward pass down to the features, and fused AdamW. Heads that have no peer are timed alone.

A row's `value` is the median of ours, `ratio` the median over the rounds of ours / the peer's, and
the middle 80 % of the rounds lie from `low` to `high`. A CPU is measured on one thread, in the
processor's time and not the clock's, which others may share. Memory is what a process of its own
grows to in three steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from footprint import Maker, peak
from head_peers import DPT, GLPN, VERSION, Outputs, UperNet
from sgmim.encoders import Encoder, make_encoder
from sgmim.options import contents
from sgmim.precision import faster_in_bf16
from sgmim.tasks.heads.base import Head
from timing import Row, command, in_turns, over, row, told, write

SWIN, VIT = "swin_base_patch4_window7_224", "vit_base_patch16_224"


@dataclass(frozen=True)
class Case:
    """A head on an encoder of some image size, and what it is compared with."""

    head: str
    encoder: str = SWIN
    peer: Any = None
    channels: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    size: int = 512  # pixels a side of an image
    batch: int = 2
    device: str = "cpu"

    def __str__(self) -> str:
        kind = self.encoder.partition("_")[0]
        told = "".join(f", {name} {value}" for name, value in self.options.items() if value)
        return (
            f"{self.head}{told} on {kind}-b, {self.channels} channels, {self.batch} x {self.size}"
        )


CASES = [
    Case("upernet", peer=UperNet, channels=150, options={"dropout": 0.0}),
    Case("dpt", VIT, DPT),
    Case("dpt", VIT, DPT, options={"readout": "project"}),
    Case("dpt", VIT, DPT, channels=150, options={"dropout": 0.0}),
    Case("sff", peer=GLPN),
    Case("deconv"),
    Case("linear"),
]


def main() -> None:
    parser = command(__doc__, quick="images of 192 pixels, a few rounds")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    there: dict[str, Any] = {"device": options.device}
    there |= {"batch": 16} if torch.device(options.device).type == "cuda" else {}
    there |= {"size": 192} if options.quick else {}
    others = contents("tasks.heads").keys() - {case.head for case in CASES}
    rows: list[Row] = []
    for case in [*CASES, *map(Case, sorted(others))]:
        rows += (new := compared(replace(case, **there), rounds=5 if options.quick else 15))
        print(*map(told, new), sep="\n", flush=True)
    write(rows, options.json)


def compared(case: Case, rounds: int) -> list[Row]:
    """Forward pass, step and memory of a head, and of its peer if it has one."""
    rows = []
    for work in (forward, step):
        sides = {kind: partial(work, case, kind) for kind in sides_of(case)}
        seconds = timed(sides, rounds, case.device)
        own = [1000 * s for s in seconds["ours"]]
        ratios = over(seconds["ours"], seconds[VERSION]) if case.peer else ()
        rows.append(row(f"{case}, {work.__name__}", own, "ms", case.peer and VERSION, ratios))
    space = {kind: [peak(partial(step, case, kind))] for kind in sides_of(case)}
    ratios = over(space["ours"], space[VERSION]) if case.peer else ()
    return [*rows, row(f"{case}, step", space["ours"], "MiB", case.peer and VERSION, ratios)]


def sides_of(case: Case) -> list[str]:
    return ["ours", VERSION] if case.peer else ["ours"]


def forward(case: Case, side: str) -> Iterator[Tensor]:
    """Predictions."""
    model, features, size = built(case, side)
    model.eval()
    while True:
        with torch.no_grad(), cast(case):
            [(_, output)] = model(features, size)
        yield output


def step(case: Case, side: str) -> Iterator[Tensor]:
    """Steps of the optimizer."""
    model, features, size = built(case, side)
    optimizer = AdamW(model.parameters(), lr=1e-4, fused=True)
    while True:
        optimizer.zero_grad()
        with cast(case):
            outputs = model(features, size)
        loss = sum(weight * output.float().square().mean() for weight, output in outputs)
        loss.backward()
        for feature in features:
            feature.grad = None
        optimizer.step()
        yield loss.detach()


def cast(case: Case) -> Any:
    device = torch.device(case.device)
    return torch.autocast(device.type, torch.bfloat16, faster_in_bf16(device))


def built(case: Case, side: str) -> tuple[nn.Module, list[Tensor], tuple[int, int]]:
    """A side's model in training mode, and what it is given: leaves that want a gradient."""
    torch.manual_seed(0)
    with torch.device("meta"):
        encoder = make_encoder(case.encoder, image_size=case.size)
    ours = Ours(encoder, case)
    model = ours if side == "ours" else case.peer(encoder, ours.head, case.channels)
    if case.peer and side != "ours":
        assert parameters(model) == parameters(ours), "not the same architecture"
    features = [
        torch.randn(case.batch, *shape, device=case.device, requires_grad=True)
        for shape in shapes(encoder, ours.head)
    ]
    return model.to(case.device).train(), features, encoder.image_size


def shapes(encoder: Encoder, head: Head) -> list[tuple[int, ...]]:
    """Of what a head reads: tokens of a ViT with the class token, maps of a Swin."""
    if encoder.is_plain:
        rows, columns = encoder.grid
        return [(rows * columns + 1, encoder.dim)] * len(head.levels or (0,))
    maps = zip(encoder.widths, encoder.strides, strict=True)
    height, width = encoder.image_size
    found = [(dim, height // stride, width // stride) for dim, stride in maps]
    return found if head.levels else found[-1:]


class Ours(nn.Module):
    """A head as a task calls it, without the norms that the peers leave to their encoders."""

    def __init__(self, encoder: Encoder, case: Case):
        super().__init__()
        self.head = contents("tasks.heads")[case.head](encoder, case.channels, **case.options)
        if case.peer is not None and hasattr(self.head, "neck"):
            self.head.neck = nn.Identity()
        self.is_plain, self.grid = encoder.is_plain, encoder.grid
        self.reads_class = getattr(self.head, "reads_class", False)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        maps = self.maps(features) if self.is_plain else features
        return self.head.trained(maps, size) if self.training else [(1.0, self.head(maps, size))]

    def maps(self, tokens: list[Tensor]) -> list[Tensor]:
        """As a plain encoder makes them of its tokens."""
        maps = [each[:, 1:].transpose(1, 2).unflatten(2, self.grid) for each in tokens]
        return maps + [each[:, 0, :, None, None] for each in tokens if self.reads_class]


def timed(makers: dict[str, Maker], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds that each side takes, round by round."""
    on_gpu = torch.device(device).type == "cuda"

    def once(work: Iterator[object]) -> None:
        next(work)
        if on_gpu:
            torch.cuda.synchronize(device)

    sides = {name: partial(once, make()) for name, make in makers.items()}
    return in_turns(sides, rounds, clock=perf_counter if on_gpu else process_time)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
