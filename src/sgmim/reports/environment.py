"""What a run stands on: versions, devices, processor. Told in its report and by 'sgmim doctor'."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import sgmim
from sgmim.data.processes import cores
from sgmim.memory import GIB

PACKAGES = ("torch", "torchvision", "timm", "numpy", "Pillow")


def environment(device: torch.device, processes: int = 1) -> dict[str, str]:
    """Facts by name, for people; neither a path nor the name of a machine is among them."""
    facts = {
        "sgmim": sgmim.__version__,
        "python": platform.python_version(),
        **{name: installed(name) or "not installed" for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": gpu(device) if device.type == "cuda" else device.type,
        "processor": f"{processor()}, {cores()} cores, of which torch uses {threads()}",
        "processes": str(processes),
    }
    if torch.version.cuda and device.type == "cuda":
        facts["CUDA"] = torch.version.cuda
    if commit := git_commit():
        facts["git commit"] = commit
    return facts


def installed(package: str) -> str | None:
    """The version of a package, without importing it."""
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def gpu(device: torch.device | int) -> str:
    """A CUDA device in words."""
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / GIB:.0f} GiB, sm_{found.major}{found.minor}"


def processor() -> str:
    """The name of the CPU, as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def threads() -> int:
    """How many cores torch computes on, in one process."""
    return torch.get_num_threads()


def git_commit() -> str | None:
    """The commit of the repository that the command was given in, if it is one."""
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return found.stdout.strip() or None
    return None
