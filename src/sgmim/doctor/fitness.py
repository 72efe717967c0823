"""Whether a run, begun or not, has what it needs: disk, data, memory; and how far it has come."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import torch

from sgmim import memory
from sgmim.checkpoint import sharded
from sgmim.doctor.feeding import data
from sgmim.doctor.machine import Finding
from sgmim.doctor.patient import Patient
from sgmim.errors import DataError
from sgmim.memory import GIB

MIB = 2**20
WRITTEN = 64 * MIB  # to measure a disk by
SLOW_DISK = 50 * MIB  # a second
WAITED = 0.1  # of the time, that a run should wait for its data at most


def examined(run: Patient) -> Iterator[Finding]:
    """All that can be said of a run."""
    for check in (disk, data, needed_memory, so_far):
        try:
            yield from check(run)
        except Exception as error:  # whatever torch and timm raise of odd options as well
            reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
            yield Finding("bad", check.__name__.replace("_", " "), reason)


def disk(run: Patient) -> Iterator[Finding]:
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


def checkpoint_size(run: Patient) -> int:
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


def needed_memory(run: Patient) -> Iterator[Finding]:
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


def so_far(run: Patient) -> Iterator[Finding]:
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
        found = sharded.latest(folder, shared=False)
    except DataError as error:
        return Finding("bad", "checkpoint", str(error), "start in a new folder")
    if found is None:
        return Finding("ok", "checkpoint", "none yet")
    if found.passed_over:
        said = f"{found.path.name} is whole; {', '.join(found.passed_over)} cannot be read"
        return Finding("look", "checkpoint", said, "the run goes on from the one that is whole")
    return Finding("ok", "checkpoint", f"{found.path.name} is whole")
