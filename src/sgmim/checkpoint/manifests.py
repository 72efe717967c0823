"""What each process has written of a checkpoint, and whether it still is as it was written."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from sgmim import distributed
from sgmim.checkpoint import as_json
from sgmim.files import write_text

UNFINISHED = "its writing was not finished"  # which is no damage


def saved(folder: Path) -> list[Path]:
    """The checkpoints there are, and those that were begun."""
    return sorted(path for path in folder.glob("step_*") if path.is_dir())


def emptied(path: Path) -> None:
    """A folder for a checkpoint; what a process that was killed left of the same is gone."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def sign(path: Path, content: dict[str, Any]) -> None:
    """Write down what this process has written, and what it is of."""
    rank = distributed.rank()
    own = sorted(path.glob(f"__{rank}_*")) + [path / ".metadata"] * (rank == 0)
    manifest = {"files": {file.name: digest(file) for file in own}, "world": distributed.world()}
    manifest |= as_json(content)
    write_text(path / f"manifest_{rank}.json", json.dumps(manifest, indent=1))


def digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def wrong(path: Path) -> str | None:
    """What is wrong with a checkpoint, as far as this process looks."""
    rank, world = distributed.rank(), distributed.world()
    try:
        parts = json.loads((path / "manifest_0.json").read_text())["world"]
        for part in range(rank, parts, world):
            files = json.loads((path / f"manifest_{part}.json").read_text())["files"]
            for name, expected in files.items():
                if Path(name).name != name or digest(path / name) != expected:
                    return f"{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{UNFINISHED}: {Path(error.filename).name} is not there"
    except Exception as error:  # a manifest that is torn or rotten fails in any way
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
