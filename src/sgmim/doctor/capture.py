"""The step at which a run diverged, on disk and done again: what was the first to be not finite?

RUN/diverged/
  config.yaml          of the run: what the model is built from
  weights.safetensors  as they were before the step
  rank_0.safetensors   the batches of the step, one file for each process of the run

No state of any generator is needed: random numbers come from seed, step and rank (draws.py).
"""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sgmim import distributed
from sgmim.data.batches import Batches
from sgmim.distributed.parallel import is_shared, weights_of
from sgmim.doctor.diagnosis import examine
from sgmim.errors import DataError, FileError
from sgmim.files import write_bytes, write_text
from sgmim.objective import Batch, Objective
from sgmim.training import Precision

FOLDER = "diverged"  # in the folder of a run
CONFIG, WEIGHTS = "config.yaml", "weights.safetensors"


def write(
    run: Path,
    objective: Objective,
    batches: Batches,
    *,
    step: int,
    accumulate: int,
    seed: int,
    precision: Precision,
    recipe: str,
) -> Path:
    """Capture a step; every process of the run does this. The batches are loaded once more.

    Raises:
        DataError: they cannot be loaded.
        FileError: the folder cannot be written.
    """
    folder, rank, names = run / FOLDER, distributed.rank(), batches.cutter.source.names
    first = step * accumulate
    loaded = list(islice(batches(first), accumulate))
    tensors = {f"{n} {name}": _plain(t) for n, b in enumerate(loaded) for name, t in b.items()}
    indices = {int(index) for batch in loaded for index in batch["index"]}
    facts: dict[str, Any] = {
        "step": step,
        "first": first,
        "rank": rank,
        "world": distributed.world(),
    }
    facts |= {"seed": seed}
    facts |= {"precision": precision, "device": batches.device.type}
    facts |= {"names": {index: names[index] for index in sorted(indices)}}
    header = {name: json.dumps(fact) for name, fact in facts.items()}
    content = safetensors.torch.save(tensors, header)
    write_bytes(folder / f"rank_{rank}.safetensors", content)
    weights = weights_of(objective) if distributed.is_main() or is_shared(objective) else {}
    if distributed.is_main():
        write_text(folder / CONFIG, recipe)
        write_bytes(folder / WEIGHTS, safetensors.torch.save(weights))
    return folder


def replay(folder: Path, device: str = "auto") -> list[str]:
    """Do a captured step again, process by process; returns what was not finite, a line for each.

    Raises:
        FileError: there is no capture.
        ConfigurationError, DataError: it cannot be read.
    """
    files = sorted(folder.glob("rank_*.safetensors"))
    if not files or not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise FileError(f"{folder} is no capture: {CONFIG}, {WEIGHTS} and rank_0.safetensors")
    objective = _built(folder).to(distributed.start(device)).train()
    lines, healthy = [], True
    for file in files:
        facts, batches = _loaded(file, next(objective.parameters()).device)
        lines.append(f"step {facts['step']}, process {facts['rank']} of {facts['world']}")
        found = examine(objective, batches, **facts)
        healthy &= not found
        lines += [f"  {line}" for line in found or ["loss and gradients are finite"]]
    if healthy:
        lines.append(
            "The failure does not come back: neither data nor weights nor random numbers make it. "
            "Was it another kind of device? Else suspect the hardware"
        )
    return lines


def _built(folder: Path) -> Objective:
    from sgmim.finished import ROOMS, build, load_weights  # builds on runs.py, which captures

    path = folder / CONFIG
    text = path.read_text(encoding="utf-8")
    command = next((command for command in ROOMS if f"\n{command}: " in f"\n{text}"), "pretrain")
    _, objective, _ = build(path, command)
    load_weights(objective, folder / WEIGHTS, path)
    return objective


def _loaded(file: Path, device: torch.device) -> tuple[dict[str, Any], list[Batch]]:
    try:
        with safe_open(file, "pt") as opened:
            facts = {name: json.loads(text) for name, text in (opened.metadata() or {}).items()}
            tensors = {name: opened.get_tensor(name).to(device) for name in opened.keys()}  # noqa: SIM118
        batches: dict[str, Batch] = {}
        for name, tensor in tensors.items():
            number, kind = name.split(" ", 1)
            batches.setdefault(number, {})[kind] = tensor
        return facts, [batches[str(number)] for number in range(len(batches))]
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{file} is no capture of batches: {error}") from error


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
