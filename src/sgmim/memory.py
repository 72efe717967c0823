"""How much memory training takes: told before it is taken, and what it came to."""

import copy
import resource
import sys

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sgmim.objective import Batch, Objective

MIB, GIB = 2**20, 2**30


def activations(objective: Objective, batch: Batch) -> int:
    """Bytes of fp32 that the forward pass keeps for the backward pass, for each image of a batch.

    Counted on a copy without content, so nothing is computed; of the batch only its shapes are
    used. What raises here would raise in the first step.
    """
    model = copy.deepcopy(objective).to("meta")
    two = {  # images, since one alone is too few for some batch norms
        name: value.new_empty((2, *value.shape[1:]), device="meta") for name, value in batch.items()
    }
    own = {_storage(parameter) for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # a storage is known by its address, so it is kept alive

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(two)
    del losses
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) // 2


def told(objective: Objective, each: int, images: int, shards: int = 1) -> str:
    """An estimate for people: weights, gradients, two moments (of AdamW), activations.

    Args:
        objective: with the weights.
        each: bytes of an image's activations.
        images: at once in one process.
        shards: processes that share one copy of the rest.
    """
    fixed = 4 * sum(4 * parameter.numel() for parameter in objective.parameters()) // shards
    total = fixed + images * each
    return (
        f"about {total / MIB:,.0f} MiB a process: {fixed / MIB:,.0f} for weights, gradients and "
        f"the optimizer, {each / MIB:,.1f} an image for activations in fp32 (about half in bf16)"
    )


def peak(device: torch.device) -> float:
    """GiB that this process has held at most since it began: of a GPU's memory in tensors, or of
    the machine's, with all libraries, where it computes on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    unit = 1 if sys.platform == "darwin" else 1024  # bytes that getrusage counts in
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
