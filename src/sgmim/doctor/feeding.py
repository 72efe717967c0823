"""Whether a run's data come as fast as it computes, and through how many processes."""

from collections.abc import Iterator
from math import ceil
from time import perf_counter

import numpy as np

from sgmim.data.images import Sample
from sgmim.data.processes import cores
from sgmim.doctor.machine import Finding, free_shared_memory
from sgmim.doctor.patient import Patient
from sgmim.errors import DataError
from sgmim.memory import GIB
from sgmim.reports.history import History

MEASURED = 3.0  # seconds of reading images
AHEAD = 2  # batches that a loading process holds ready: torch's prefetch_factor


def data(run: Patient) -> Iterator[Finding]:
    """How fast images are read, how many loading processes that asks for, what is broken."""
    rate, broken, sample = reading_speed(run)
    if run.config.data.images is None and run.config.data.shards is None:
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


def reading_speed(run: Patient) -> tuple[float, dict[str, str], Sample]:
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


def _handing_over(run: Patient, sample: int) -> Finding:
    """Whether loading processes have the shared memory to hand over their batches."""
    free, workers = free_shared_memory(), run.config.batches.workers
    need = workers * AHEAD * run.plan.micro_batch * sample  # of all processes, that share it
    said = f"{need / GIB:.2f} GiB for {workers} workers of each process"
    if free is None or free >= need:
        return Finding("ok", "shared memory", said)
    advice = "enlarge /dev/shm (docker: --shm-size), or take fewer --batches.workers"
    return Finding("bad", "shared memory", f"{said}, and {free / GIB:.2f} are free", advice)
