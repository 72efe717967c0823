"""What it takes to begin with ten million images: seconds, and memory of the process.

    python benchmarks/startup.py [--quick] [--json FILE]

Each case runs in a process of its own, on made-up names of 27 characters. Memory is what the
process has more afterwards, shared pages of the index included; the peak is what it had more at
most. "packed" opens the index of shards with two modalities and computes the samples of one step in
the middle of the third epoch; "list" reads a .txt of as many paths; "an epoch" is what torch's own
DistributedSampler does at the beginning of each.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import numpy as np
from torch.utils.data import DistributedSampler

from sgmim.data.index import ENTRY, header
from sgmim.data.listing import find_images
from sgmim.data.sampler import Order
from sgmim.data.shards import Shards
from timing import Row, command, row, told, write

COUNT, QUICK = 10_000_000, 1_000_000
BATCH = 2048
SAMPLES = 10_000  # in a shard
NAME = "n{:05d}/n{:08d}_{:05d}.JPEG"


def main() -> None:
    parser = command(__doc__, quick="with a tenth of the images")
    options = parser.parse_args()
    count = QUICK if options.quick else COUNT
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), count)
        cases = {
            "packed": partial(open_packed, Path(folder)),
            "list": partial(find_images, Path(folder) / "list.txt"),
            "an epoch of torch's DistributedSampler": partial(first_of_torch, count),
        }
        rows = [each for name, case in cases.items() for each in measured(name, case, count)]
    print(*map(told, rows), sep="\n")
    write(rows, options.json)


def measured(name: str, case: Callable[[], object], count: int) -> list[Row]:
    ours, theirs = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=measure, args=(theirs, case))
    process.start()
    seconds, after, peak = ours.recv()
    process.join()
    begun = f"{name}, {count / 1e6:g} M"
    return [
        row(f"{begun}: time", [seconds], "seconds"),
        row(f"{begun}: memory", [after], "MB"),
        row(f"{begun}: peak", [peak], "MB"),
    ]


def measure(pipe: Connection, case: Callable[[], object]) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of before
    before, began = resident()[0], perf_counter()
    kept = case()
    seconds = perf_counter() - began
    after, peak = resident()
    pipe.send((seconds, after - before, peak - before))
    del kept


def resident() -> tuple[float, float]:
    """MB that this process has in memory, and had at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {
        name: int(line.split()[1])
        for line in lines
        for name in [line.split(":")[0]]
        if "kB" in line
    }
    return kilobytes["VmRSS"] / 1e3, kilobytes["VmHWM"] / 1e3


def open_packed(folder: Path) -> tuple[Shards, list[tuple[int, int]]]:
    shards = Shards(folder)
    start = 5 * len(shards) // BATCH // 2
    return shards, next(islice(Order(len(shards), BATCH)(start), 1))


def first_of_torch(count: int) -> tuple[DistributedSampler, int]:
    sampler = DistributedSampler(range(count), num_replicas=1, rank=0)
    return sampler, next(iter(sampler))


def make(folder: Path, count: int) -> None:
    """An index and a list of so many names."""
    shards = -(-count // SAMPLES)
    length = len(NAME.format(0, 0, 0))
    with open(folder / "index.bin", "wb") as index, open(folder / "list.txt", "wb") as paths:
        index.write(header(("image", "depth"), count, shards, count * length))
        index.write(bytes(ENTRY.size * 2 * shards))
        index.write(np.append(np.arange(0, count, SAMPLES), count).astype("<u8").tobytes())
        for _ in range(0, count, SAMPLES):
            index.write(bytes(ENTRY.size * 2 * SAMPLES))
        index.write((np.arange(count + 1) * length).astype("<u8").tobytes())
        for start in range(0, count, SAMPLES):
            names = [NAME.format(i % 1000, i, i % 99999) for i in range(start, start + SAMPLES)]
            index.write("".join(names).encode())
            paths.write(("\n".join(names) + "\n").encode())
    (folder / "depth").mkdir()
    (folder / "depth" / "knowledge.json").write_text('{"scale": 255}')
    size = (folder / "index.bin").stat().st_size
    (folder / "shards.json").write_text(json.dumps({"index": {"size": size, "crc": 0}}))


if __name__ == "__main__":
    main()
