"""How much memory a training step takes, told before it is taken."""

import copy

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from sgmim.objective import Objective

MIB = 2**20


def activations(objective: Objective) -> int:
    """Bytes of fp32 that the forward pass of one image keeps for the backward pass.

    Counted on a copy without content, so nothing is computed.
    """
    model = copy.deepcopy(objective).to("meta")
    own = {id(p) for p in model.parameters()}
    height, width = objective.encoder.image_size
    batch = {name: torch.empty(1, 1, height, width, device="meta") for name in model.needs}
    batch["image"] = torch.empty(1, objective.encoder.channels, height, width, device="meta")
    batch["key"] = torch.zeros(1, dtype=torch.int64, device="meta")
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in own and not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(batch)
    del losses
    return sum(size for _, size in kept.values())


def told(objective: Objective, images: int) -> str:
    """An estimate for people: weights, gradients, AdamW's two moments, activations."""
    weights = sum(p.numel() * 4 for p in objective.parameters())
    each = activations(objective)
    total = 4 * weights + images * each
    return (
        f"about {total / MIB:,.0f} MiB a process: {4 * weights / MIB:,.0f} for weights, gradients "
        f"and AdamW, {each / MIB:,.1f} an image for activations in fp32 (about half in bf16)"
    )
