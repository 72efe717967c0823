"""What several processes give, and what saving and loading cost the steps.

    python benchmarks/scaling.py [--quick] [--json FILE] [--device cuda] [--processes N]

A step is that of benchmarks/step.py: SG-MIM through training.steps, masks drawn in the step, AdamW.
Every process has B images (or 2 B, 4 B); all sides take turns in the same processes, and while one
process is measured alone the others wait. The clock's time counts here, since processes wait for
each other: on a machine that others use, look at the ratios and how far they spread.

- "B, 2 B, 4 B": images a second of one process, over those of B.
- "N processes, DDP" and "FSDP2": images a second of all, over N times one process alone.
- "stall": milliseconds that the training stands still for a checkpoint, asynchronous over
  synchronous, of the whole model (checkpoint.py) and of its parts (sharded.py).
- "from files": a run that loads its data as every run does, over the same batch again and again.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import multiprocessing

from cases import SWIN_B, Case
from loader import make_photos
from sgmim import checkpoint, distributed, optim, training
from sgmim.checkpoint import manifests, sharded
from sgmim.checkpoint.background import Background, Copier
from sgmim.data.batches import Batches
from sgmim.data.images import Images, Source
from sgmim.data.packing import pack
from sgmim.data.shards import Shards
from sgmim.distributed import parallel
from sgmim.distributed.parallel import Parallel
from sgmim.methods.sgmim import SGMIM
from sgmim.objective import Objective
from timing import Row, command, in_turns, over, row, told, write

MIB = 2**20
VIT_TI = Case("ViT-Ti", "vit_tiny_patch16_224", 224, 4)
STRATEGIES = {"DDP": Parallel(), "FSDP2": Parallel(strategy="fsdp")}


@dataclass
class Setup:
    case: Case
    rounds: int
    processes: int


def main() -> None:
    parser = command(__doc__, quick="a small model, under two minutes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, help="at once; by default 2, or one a GPU")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    processes = options.processes or (torch.cuda.device_count() if on_gpu else 2)
    case = replace(VIT_TI if options.quick else SWIN_B, device=options.device)
    if on_gpu:
        case = replace(case, batch=64)
    setup = Setup(case, 5 if options.quick else 15, processes)
    with tempfile.TemporaryDirectory() as folder:
        work = (setup, free_port(), Path(folder))
        if processes > 1:
            multiprocessing.spawn(measure, work, nprocs=processes)
        else:
            measure(0, *work)
        rows: list[Row] = torch.load(Path(folder) / "rows.pt")
    print(*map(told, rows), sep="\n", flush=True)
    write(rows, options.json)


def measure(rank: int, setup: Setup, port: int, folder: Path) -> None:
    """In every process; the first keeps what was found."""
    torch.set_num_threads(1)
    if setup.processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(setup.processes)}
        os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
        os.environ["MASTER_PORT"] = str(port)
    with distributed.together():
        device = distributed.start(setup.case.device)
        setup.case = replace(setup.case, device=str(device))
        rows = [*scaled(setup), *stalled(setup, folder)]
        if rank == 0:
            rows += fed(setup, folder)
            torch.save(rows, folder / "rows.pt")
        distributed.barrier()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Side:
    """An objective that is trained on the same batch again and again."""

    def __init__(self, case: Case, how: Parallel | None, times: int = 1):
        """`how` several processes share it; None is one alone."""
        self.case, self.images = case, times * case.batch
        device = torch.device(case.device)
        torch.manual_seed(0)
        self.objective: Objective = case.objective(SGMIM)
        self.alone = how is None
        parallel.place(self.objective, device, how or Parallel())
        self.optimizer = optim.adamw(self.objective, lr=1e-4)
        model = self.objective if self.alone else distributed.wrap(self.objective, static=True)
        batch = case.data(self.objective, self.images)
        self.steps = training.steps(model, self.optimizer, repeat(batch))

    def __call__(self) -> None:
        if not self.alone or distributed.is_main():
            next(self.steps)
        synchronize(self.case.device)
        distributed.barrier()


def scaled(setup: Setup) -> list[Row]:
    """More images, more processes."""
    case, count = setup.case, setup.processes
    rows: list[Row] = []
    first: list[float] = []
    for times in (1, 2, 4):
        sides: dict[str, Callable[[], object]] = {"alone": Side(case, None, times)}
        if count > 1:
            sides |= {name: Side(case, how, times) for name, how in STRATEGIES.items()}
        seconds = in_turns(sides, setup.rounds)
        rates = {name: [times * case.batch / s for s in took] for name, took in seconds.items()}
        first = first or rates["alone"]
        name = f"{case.name}, {times * case.batch} images a process"
        ratios = over(rates["alone"], first) if times > 1 else ()
        peer = f"{case.batch} images" if times > 1 else None
        rows.append(row(f"{name}, one alone", rates["alone"], "images/s", peer, ratios))
        for strategy in STRATEGIES if count > 1 else ():
            together = [count * rate for rate in rates[strategy]]
            shares = over(rates[strategy], rates["alone"])
            peer = f"{count} x one alone"
            rows.append(row(f"{name}, {count} with {strategy}", together, "images/s", peer, shares))
    return rows


def stalled(setup: Setup, folder: Path) -> list[Row]:
    """How long the training stands still for a checkpoint, and how large that is."""
    rows = []
    whole = Side(setup.case, Parallel())
    cases: list[tuple[str, Side, Any]] = [("whole", whole, WholeSaver)]
    if setup.processes > 1:
        cases.append(("in parts", Side(setup.case, STRATEGIES["FSDP2"]), PartSaver))
    for name, side, kind in cases:
        saver = kind(side, folder / name.replace(" ", "_"))
        stalls: dict[str, list[float]] = {"at once": [], "beside": []}
        with Background() as saving:
            for number in range(2 + setup.rounds):
                for way, took in stalls.items():
                    side()
                    saving.finish()
                    distributed.barrier()
                    began = perf_counter()
                    saving.start(saver(2 * number + (way == "beside")))
                    if way == "at once":
                        saving.finish()
                    distributed.barrier()
                    took += [1000 * (perf_counter() - began)] * (number > 1)
                    side()
        size = sum(file.stat().st_size for file in saver.newest()) / MIB
        label = f"{setup.case.name}, stall for a checkpoint"
        rows += [
            row(f"{label}, {name}, synchronous", stalls["at once"], "ms"),
            row(f"{label}, {name}, asynchronous", stalls["beside"], "ms", "synchronous",
                over(stalls["beside"], stalls["at once"])),
            row(f"{setup.case.name}, checkpoint, {name}", [size], "MiB"),
        ]  # fmt: skip
    return rows


class WholeSaver:
    """The main process saves all, as runs.train does."""

    def __init__(self, side: Side, folder: Path):
        self.side, self.folder, self.copy = side, folder, Copier()

    def __call__(self, step: int) -> Callable[[], object]:
        if not distributed.is_main():
            return lambda: None
        content = checkpoint.content(step, self.side.objective, self.side.optimizer)
        copied = self.copy(content)
        return lambda: checkpoint.write(self.folder, copied(), keep=1)

    def newest(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("*.pt"))[-1:]


class PartSaver:
    """Every process saves its part."""

    def __init__(self, side: Side, folder: Path):
        self.side, self.folder, self.writer = side, folder, sharded.Writer(folder, keep=1)

    def __call__(self, step: int) -> Callable[[], object]:
        return self.writer.copy(step, self.side.objective, self.side.optimizer)

    def newest(self) -> Iterator[Path]:
        return manifests.saved(self.folder / "checkpoints")[-1].iterdir()


def fed(setup: Setup, folder: Path) -> list[Row]:
    """Steps on data that is loaded, one process, which loads by itself on a CPU."""
    case, on_gpu = setup.case, torch.device(setup.case.device).type == "cuda"
    make_photos(folder, 8 * case.batch)
    rows = []
    for kind, source in sources(folder).items():
        torch.manual_seed(0)
        objective = case.objective(SGMIM).to(case.device)
        batches = Batches(
            source, size=(case.size, case.size), batch=case.batch, needs=objective.needs,
            device=case.device, workers=(os.cpu_count() or 2) - 1 if on_gpu else 0,
        )  # fmt: skip
        optimizer = optim.adamw(objective, lr=1e-4)
        stream = iter(batches())
        sides = {
            "synthetic": training.steps(objective, optimizer, repeat(next(stream))),
            kind: training.steps(objective, optimizer, stream),
        }
        runs = {name: partial(step_of, steps, case.device) for name, steps in sides.items()}
        seconds = in_turns(runs, setup.rounds)
        rates = [case.batch / took for took in seconds[kind]]
        shares = over(seconds["synthetic"], seconds[kind])
        rows.append(row(f"{case}, from {kind}", rates, "images/s", "the same batch", shares))
    return rows


def sources(folder: Path) -> dict[str, Source]:
    """The same photos with 16-bit depth, as files and packed."""
    for _ in pack(folder / "photos", folder / "packed", maps={"depth": folder / "ours"}):
        pass
    return {
        "files": Images(folder / "photos", {"depth": folder / "ours"}),
        "shards": Shards(folder / "packed"),
    }


def step_of(steps: Iterator[object], device: str) -> None:
    next(steps)
    synchronize(device)


def synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
