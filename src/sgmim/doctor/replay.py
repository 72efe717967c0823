"""A captured step done again: what was the first to be not finite?"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sgmim import distributed
from sgmim.capture import CONFIG, WEIGHTS
from sgmim.doctor.diagnosis import examine
from sgmim.errors import DataError, FileError
from sgmim.finished import ROOMS, build, load_weights
from sgmim.objective import Batch, Moment, Objective


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
        objective.begin(facts["moment"])
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
    path = folder / CONFIG
    text = path.read_text(encoding="utf-8")
    command = next((command for command in ROOMS if f"\n{command}: " in f"\n{text}"), "pretrain")
    objective = build(path, command).objective
    load_weights(objective, folder / WEIGHTS, path)
    return objective


def _loaded(file: Path, device: torch.device) -> tuple[dict[str, Any], list[Batch]]:
    try:
        with safe_open(file, "pt") as opened:
            facts = {name: json.loads(text) for name, text in (opened.metadata() or {}).items()}
            facts["moment"] = Moment(facts["step"], facts["steps"], facts["epoch"])
            tensors = {name: opened.get_tensor(name).to(device) for name in opened.keys()}  # noqa: SIM118
        batches: dict[str, Batch] = {}
        for name, tensor in tensors.items():
            number, kind = name.split(" ", 1)
            batches.setdefault(number, {})[kind] = tensor
        return facts, [batches[str(number)] for number in range(len(batches))]
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{file} is no capture of batches: {error}") from error
