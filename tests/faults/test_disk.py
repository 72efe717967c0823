"""The disk is full at any moment of a run: what was saved stays, and the run says so."""

import os
import random
import shutil
import subprocess

import pytest

from faults import children
from sgmim.checkpoint import latest
from shell import SCENES, TINY, files, sgmim

pytestmark = pytest.mark.slow

POINTS = 50
SIZE = 64 << 20  # bytes of the disk
BEGUN = 2  # steps of the run that finds it full
RUN = (
    *("pretrain", "sgmim", *TINY, *SCENES, "--training.save_every=1", "--training.keep=9"),
    "--training.pictures_every=1",
)


@pytest.fixture
def disk(tmp_path):
    """A small disk, where this process may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def space(folder):
    """Bytes that files take, in whole pages."""
    return sum(-(-(folder / name).stat().st_size // 4096) * 4096 for name in files(folder))


def fill(disk, free):
    """Leave so many bytes of a disk."""
    there = os.statvfs(disk)
    with open(disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - free)


def is_well_told(said):
    lines = [line for line in said.splitlines() if line.startswith("sgmim: ")]
    return len(lines) == 1 and "cannot write" in lines[0] and "Traceback" not in said


def test_a_full_disk_leaves_what_was_saved(tmp_path, disk, recorded):
    draw, kept, told = random.Random(0), 0, tmp_path / "told.txt"
    begun, folder = tmp_path / "begun", disk / "run"
    assert sgmim(*RUN, f"--run={begun}") == 0
    whole = space(begun)
    for name in files(begun):
        number = name.partition("step_")[2][:8]
        if "objective" in name or (number and int(number) > BEGUN):
            (begun / name).unlink()
    checkpoint = f"checkpoints/step_{BEGUN:08d}.pt"
    words = (*RUN, f"--run={folder}")
    for point in range(POINTS):
        shutil.copytree(begun, folder)
        fill(disk, int(0.95 * draw.random() * (whole - space(begun))))
        code = children.done(lambda: sgmim(*words), told)
        found = latest(folder)
        kept += (
            code == 74
            and is_well_told(told.read_text())
            and found.step >= BEGUN
            and not found.passed_over
            and (folder / checkpoint).read_bytes() == (begun / checkpoint).read_bytes()
            and not any("partial" in name for name in files(folder))
        )
        (disk / "filler").unlink()
        if point % 10 == 0:
            assert children.done(lambda: sgmim(*words), told) == 0, told.read_text()
        shutil.rmtree(folder)
    recorded("disk full", "checkpoint before intact, clear message, exit 74", POINTS, kept)
