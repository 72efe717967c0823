"""Whether a machine is fit for training: versions, devices, processor, limits. No network."""

import os
import platform
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sgmim.data.processes import cores
from sgmim.memory import GIB
from sgmim.precision import faster_in_bf16
from sgmim.reports.environment import gpu, installed, processor, threads

FILES = 4096  # open files that a process with loading processes is well off with
OLDEST_GPU = (7, 0)  # of compute capability, that torch's present builds and tensor cores ask for


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "look", "bad"]
    what: str
    found: str
    advice: str = ""  # what to change, unless it is fine


def machine() -> Iterator[Finding]:
    """All that can be said of a machine without knowing the run."""
    yield from versions()
    yield from devices()
    yield from cpu()
    yield from limits()


def versions() -> Iterator[Finding]:
    """Whether what is installed is what sgmim asks for."""
    try:
        wanted = [Requirement(text) for text in requires("sgmim") or []]
        yield _python()
    except PackageNotFoundError:
        advice = "pip install it, so that what it needs is known"
        yield Finding("look", "packages", "sgmim is not installed as a package", advice)
        return
    for need in wanted:
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        have = installed(need.name)
        if have is None:
            yield Finding("bad", need.name, "not installed", f"pip install '{need}'")
        elif not need.specifier.contains(have, prereleases=True):
            advice = f"pip install --upgrade '{need}'"
            yield Finding("bad", need.name, f"{have}, and {need.specifier} is needed", advice)
        elif need.name in ("torch", "timm"):
            yield Finding("ok", need.name, have)
    yield _torchvision()


def _python() -> Finding:
    have, need = platform.python_version(), metadata("sgmim")["Requires-Python"]
    if SpecifierSet(need).contains(have, prereleases=True):
        return Finding("ok", "python", have)
    return Finding("bad", "python", f"{have}, and {need} is needed", "make an environment with it")


def _torchvision() -> Finding:
    have = installed("torchvision") or "not installed"
    try:
        from torchvision import ops

        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # whatever a build for another torch fails with
        reason = str(error).partition("\n")[0]
        advice = f"install the torchvision that was built for torch {torch.__version__}"
        return Finding("bad", "torchvision", f"{have} does not work: {reason}", advice)
    return Finding("ok", "torchvision", have)


def devices() -> Iterator[Finding]:
    """GPUs, and how several of them talk."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield _no_gpu()
        return
    for number in range(count):
        capability = torch.cuda.get_device_capability(number)
        old = capability < OLDEST_GPU
        slow = not torch.cuda.is_bf16_supported(including_emulation=False)
        told = f"{gpu(number)}, {'no bf16: fp32 is used' if slow else 'bf16'}"
        free = torch.cuda.mem_get_info(number)[0]
        total = torch.cuda.get_device_properties(number).total_memory
        busy = free < 0.9 * total
        advice = "another process holds memory on it (nvidia-smi)" if busy else ""
        advice = "this torch may have no kernels for it" if old else advice
        yield Finding("look" if advice else "ok", f"GPU {number}", told, advice)
    if torch.distributed.is_nccl_available():
        version = ".".join(map(str, torch.cuda.nccl.version()))
        yield Finding("ok", "NCCL", version)
    else:
        advice = "several GPUs need it: install a build of torch with NCCL"
        yield Finding("look" if count == 1 else "bad", "NCCL", "not in this torch", advice)


def _no_gpu() -> Finding:
    if torch.version.cuda and list(Path("/dev").glob("nvidia[0-9]*")):
        advice = f"the driver is too old for CUDA {torch.version.cuda}, or hidden from this process"
        return Finding("bad", "GPU", "there is one, which torch cannot use", advice)
    if torch.backends.mps.is_available():
        return Finding("look", "GPU", "Apple's, which is not used", "training runs on the CPU")
    return Finding("ok", "GPU", "none; training runs on the CPU")


def cpu() -> Iterator[Finding]:
    """Cores, instructions, threads."""
    there, used = cores(), threads()
    can = [name for name, has in torch.cpu.get_capabilities().items() if has is True]
    known = [name for name in can if re.match(r"(amx|avx512_bf16|avx512_f|avx2|sve|neon)", name)]
    yield Finding("ok", "processor", f"{processor()}, {there} cores, {', '.join(known)}")
    if not torch.cuda.is_available() and not faster_in_bf16(torch.device("cpu")):
        said = "fp32 is used: neither AMX nor AVX512-BF16"
        yield Finding("look", "bf16 on the CPU", said, "a newer processor is 2 to 3 times as fast")
    said = f"{used} in torch, {there} cores"
    if used > there:
        advice = f"set OMP_NUM_THREADS to {there} or less: more wait for one another"
        yield Finding("look", "threads", said, advice)
    elif not torch.cuda.is_available() and 2 * used <= there:
        advice = f"on the CPU set OMP_NUM_THREADS={there}, or as many processes as that leaves"
        yield Finding("look", "threads", said, advice)
    else:
        yield Finding("ok", "threads", said)


def limits() -> Iterator[Finding]:
    """Open files, and the memory that processes share."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        advice = f"'ulimit -n {min(max(FILES, soft), hard)}' before a run with many workers"
        yield Finding("look", "open files", f"at most {soft}", advice)
    else:
        yield Finding("ok", "open files", f"at most {soft}")
    if (shared := free_shared_memory()) is not None:
        yield Finding("ok", "shared memory", f"{shared / GIB:.1f} GiB free")


def free_shared_memory() -> int | None:
    """Bytes in which loading processes hand over batches; None where that is not told."""
    if not Path("/dev/shm").is_dir():
        return None
    found = os.statvfs("/dev/shm")
    return found.f_bavail * found.f_frsize
