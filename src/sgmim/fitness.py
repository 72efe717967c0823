"""Whether a run, begun or not, has what it needs: disk, memory, data that come fast enough."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jsonargparse import Namespace

from sgmim import checkpoint, memory
from sgmim.analysis.history import History
from sgmim.data.batches import Batches
from sgmim.data.images import Sample, Source
from sgmim.encoders import make_encoder
from sgmim.environment import GIB, cores
from sgmim.errors import ConfigurationError, DataError
from sgmim.machine import Finding, free_shared_memory
from sgmim.objective import Objective
from sgmim.options import find
from sgmim.plan import Plan
from sgmim.sources import make_source

MIB = 2**20
WRITTEN = 64 * MIB  # to measure a disk by
SLOW_DISK = 50 * MIB  # a second
MEASURED = 3.0  # seconds of reading images
AHEAD = 2  # batches that a loading process holds ready: torch's prefetch_factor
WAITED = 0.1  # of the time, that a run should wait for its data at most


@dataclass
class Asked:
    """A run by its options; `folder` need not be there yet."""

    config: Namespace
    folder: Path
    room: str
    part: str
    name: str
    whole: bool  # whether it says which model is trained, or only which data are read

    @cached_property
    def plan(self) -> Plan:
        return Plan(**self.config.training.as_dict())

    @cached_property
    def objective(self) -> Objective:
        encoder = make_encoder(**(self.config.encoder.as_dict() | {"pretrained": False}))
        return find(self.room, self.name)(encoder, **self.config[self.part].as_dict())

    @cached_property
    def source(self) -> Source:
        source = make_source(**self.config.data.as_dict())
        if source is None:
            raise ConfigurationError("there is no data: give --data.images or --data.scenes")
        return source

    @cached_property
    def batches(self) -> Batches:
        needs = self.objective.needs if self.whole else tuple(self.source.has)
        size = self.config.encoder.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        options = self.config.batches.as_dict() | {"workers": 0, "broken_share": 1.0}
        return Batches(self.source, size=size, batch=1, needs=needs, **options)

    @cached_property
    def history(self) -> History:
        return History(self.folder).update()

    @cached_property
    def processes(self) -> int:
        return self.history.starts[-1]["processes"] if self.history.starts else 1


def examined(run: Asked) -> Iterator[Finding]:
    """All that can be said of a run."""
    for check in (disk, data, needed_memory, so_far):
        try:
            yield from check(run)
        except (ConfigurationError, DataError, OSError) as error:
            yield Finding("bad", check.__name__.replace("_", " "), str(error))


def disk(run: Asked) -> Iterator[Finding]:
    """Room for the checkpoints, and how fast they are written."""
    there = next(path for path in (run.folder, *run.folder.absolute().parents) if path.is_dir())
    state = os.statvfs(there)
    free = state.f_bavail * state.f_frsize
    one = checkpoint_size(run)
    need = (run.plan.keep + 1) * one + one  # one more while it is written; what is handed over
    said = f"{free / GIB:,.1f} GiB free in {there}; the run takes up to {need / GIB:,.2f} GiB"
    if free < need:
        advice = "make room, choose another --run, or a smaller --training.keep"
        yield Finding("bad", "disk", said, advice)
    elif free < 2 * need:
        yield Finding("look", "disk", said, "that is scarce")
    else:
        yield Finding("ok", "disk", said)
    speed, seconds = write_speed(there, min(WRITTEN, max(MIB, free // 4)))
    said = f"{speed / MIB:,.0f} MiB/s, {1000 * seconds:.0f} ms to have a small file on disk"
    said += f"; a checkpoint takes {one / speed:.1f} s" if one else ""
    slow = speed < SLOW_DISK
    advice = "save rarely (--training.save_every), or to a faster disk" if slow else ""
    yield Finding("look" if slow else "ok", "writing", said, advice)


def checkpoint_size(run: Asked) -> int:
    """Bytes of a checkpoint: of those there are, or as it will be; 0 if nobody can know."""
    there = [path.stat().st_size for path in run.folder.glob("checkpoints/*") if path.is_file()]
    if there or not run.whole:
        return max(there, default=0)
    weights = 4 * sum(parameter.numel() for parameter in run.objective.parameters())
    return weights * (4 if run.plan.ema else 3)  # and two moments of each


def write_speed(folder: Path, size: int) -> tuple[float, float]:
    """Bytes a second of a large file until it is on disk, and seconds of a small one."""
    path, seconds = folder / f".speed.{os.getpid()}.partial", []
    try:
        for content in (os.urandom(min(size, MIB)) * max(1, size // MIB), b"x"):
            began = perf_counter()
            with open(path, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            seconds.append(perf_counter() - began)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return size / seconds[0], seconds[1]


def data(run: Asked) -> Iterator[Finding]:
    """How fast images are read, how many loading processes that asks for, what is broken."""
    rate, broken, sample = reading_speed(run)
    if run.config.data.images is None:
        said = f"{len(run.source)} made-up scenes, each made once: {len(run.source) / rate:,.0f} s"
        yield Finding("ok", "data", f"{said} on one core")
        return
    shown = sorted(name for name in sample if sample[name].ndim == 3)
    said = f"{rate:,.0f} images/s on one core ({' and '.join(shown)}), {cores() * rate:,.0f} on all"
    demand = computed(run.history) / run.processes
    workers = run.config.batches.workers
    if demand:
        wanted = ceil(demand / rate)
        said += f"; a process takes {demand:,.0f}, and has {workers} workers"
        if wanted * run.processes > cores():
            advice = (
                f"{wanted} workers for each of {run.processes} processes are more than the "
                f"{cores()} cores: keep smaller images on disk (sgmim data pack)"
            )
            yield Finding("look", "data", said, advice)
        elif workers < wanted and (workers or demand > 0.2 * rate):
            yield Finding("look", "data", said, f"--batches.workers {wanted}")
        else:
            yield Finding("ok", "data", said)
    else:
        yield Finding("ok", "data", f"{said}; 1,000 images/s take {ceil(1000 / rate)} workers")
    if broken:
        advice = "repair or remove them; a run replaces them by others"
        yield Finding("look", "broken files", "; ".join(list(broken.values())[:5]), advice)
    yield _handing_over(run, sum(part.nbytes for part in sample.values()))


def reading_speed(run: Asked) -> tuple[float, dict[str, str], Sample]:
    """Images a second of one core, what was broken of those, and one of them."""
    cutter, count = run.batches.cutter, len(run.source)
    broken: dict[str, str] = {}
    sample, _ = cutter[0, 0]  # what is loaded once is not counted
    done, began = 0, perf_counter()
    dice = np.random.default_rng(0)
    while perf_counter() - began < MEASURED and done < 2000:
        found, failed = cutter[0, int(dice.integers(count))]
        broken |= failed
        if isinstance(found, DataError):
            raise found
        sample, done = found, done + 1
    assert not isinstance(sample, DataError)
    return done / (perf_counter() - began), broken, sample


def computed(history: History) -> float:
    """Images a second that a run would compute if it never waited; 0 if it has not begun."""
    rate, waiting = history["images_per_second"][-50:], history["waiting"][-50:]
    busy = rate[waiting < 0.99] / (1 - waiting[waiting < 0.99])
    return float(np.median(busy)) if len(busy) else 0.0


def _handing_over(run: Asked, sample: int) -> Finding:
    """Whether loading processes have the shared memory to hand over their batches."""
    free, workers = free_shared_memory(), run.config.batches.workers
    need = workers * AHEAD * run.plan.micro_batch * sample  # of all processes, that share it
    said = f"{need / GIB:.2f} GiB for {workers} workers of each process"
    if free is None or free >= need:
        return Finding("ok", "shared memory", said)
    advice = "enlarge /dev/shm (docker: --shm-size), or take fewer --batches.workers"
    return Finding("bad", "shared memory", f"{said}, and {free / GIB:.2f} are free", advice)


def needed_memory(run: Asked) -> Iterator[Finding]:
    """Weights, gradients, moments and activations against what the device has."""
    if not run.whole:
        return
    batch = next(run.batches(0)) | {"key": torch.tensor([0])}
    each = memory.activations(run.objective, batch)
    images = max(1, run.plan.micro_batch // run.processes)
    fixed = 16 * sum(parameter.numel() for parameter in run.objective.parameters())
    on_gpu = torch.cuda.is_available() and run.config.device != "cpu"
    there = (
        torch.cuda.mem_get_info()[1]
        if on_gpu
        else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    said = f"{memory.told(run.objective, each, images)}; there is {there / GIB:.0f} GiB"
    if fixed + images * each / 2 > there:
        advice = "a smaller --training.batch, or more of --training.accumulate"
        yield Finding("bad", "memory", said, advice)
    elif fixed + images * each > there:
        yield Finding("look", "memory", said, "it may just fit in bf16")
    else:
        yield Finding("ok", "memory", said)


def so_far(run: Asked) -> Iterator[Finding]:
    """What a run that has begun tells of itself."""
    history, status = run.history, run.history.status
    if not len(history) and not history.starts:
        return
    of = f" of {status.total:,}" if status.total else ""
    why = f": {status.reason}" if status.reason else ""
    stopped = status.word == "stopped"
    advice = "give its command again, and it goes on" if stopped else ""
    said = f"{status.word} at step {status.step:,}{of}{why}"
    yield Finding("look" if stopped else "ok", "the run", said, advice)
    yield _saved(run.folder)
    waiting = history["waiting"][-50:]
    if len(waiting) and waiting.mean() > WAITED:
        said = f"the run waits {waiting.mean():.0%} of the time"
        yield Finding("look", "waiting", said, "more --batches.workers, or smaller images on disk")
    if lost := history.last.get("replaced"):
        yield Finding("look", "broken files", f"{lost:.0f} were replaced by others", "repair them")


def _saved(folder: Path) -> Finding:
    try:
        found = checkpoint.latest(folder)
    except DataError as error:
        return Finding("bad", "checkpoint", str(error), "start in a new folder")
    if found is None:
        return Finding("ok", "checkpoint", "none yet")
    if found.passed_over:
        said = f"{found.path.name} is whole; {', '.join(found.passed_over)} cannot be read"
        return Finding("look", "checkpoint", said, "the run goes on from the one that is whole")
    return Finding("ok", "checkpoint", f"{found.path.name} is whole")
