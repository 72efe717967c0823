"""The step at which a run diverged, on disk, for 'sgmim doctor --replay' to do it again.

RUN/diverged/
  config.yaml          of the run: what the model is built from
  weights.safetensors  as they were before the step
  rank_0.safetensors   the batches of the step, one file for each process of the run

No state of any generator is needed: random numbers come from seed, step and rank (draws.py).
"""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import safetensors.torch
from torch import Tensor

from sgmim import distributed
from sgmim.data.batches import Batches
from sgmim.distributed.parallel import is_shared, weights_of
from sgmim.files import write_bytes, write_text
from sgmim.objective import Moment, Objective
from sgmim.training import Precision

FOLDER = "diverged"  # in the folder of a run
CONFIG, WEIGHTS = "config.yaml", "weights.safetensors"


def write(
    run: Path,
    objective: Objective,
    batches: Batches,
    *,
    moment: Moment,
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
    first = moment.step * accumulate
    loaded = list(islice(batches(first), accumulate))
    tensors = {f"{n} {name}": _plain(t) for n, b in enumerate(loaded) for name, t in b.items()}
    indices = {int(index) for batch in loaded for index in batch["index"]}
    facts = {
        **asdict(moment),
        "first": first,
        "rank": rank,
        "world": distributed.world(),
        "seed": seed,
        "precision": precision,
        "device": batches.device.type,
        "names": {index: names[index] for index in sorted(indices)},
    }
    header = {name: json.dumps(fact) for name, fact in facts.items()}
    content = safetensors.torch.save(tensors, header)
    write_bytes(folder / f"rank_{rank}.safetensors", content)
    weights = weights_of(objective) if distributed.is_main() or is_shared(objective) else {}
    if distributed.is_main():
        write_text(folder / CONFIG, recipe)
        write_bytes(folder / WEIGHTS, safetensors.torch.save(weights))
    return folder


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
