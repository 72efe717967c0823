import re
from functools import partial

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from conftest import batch_for, tiny
from sgmim.memory import activations, told
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.deconv import DeconvHead

OBJECTIVES = {
    "simmim": lambda encoder: SimMIM(encoder, mask_size=32),
    "sgmim": lambda encoder: SGMIM(encoder, mask_size=32),
    "depth": lambda encoder: DepthEstimation(encoder, partial(DeconvHead, width=16)),
}


def measured(objective, batch):
    """Bytes that a real forward pass keeps, weights aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = objective(batch)
    assert losses
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("encoder", ["vit", "swin", "swinv2"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_estimate_is_within_a_factor_of_two_of_what_is_kept(name, encoder):
    objective = OBJECTIVES[name](tiny(encoder))
    batch = batch_for(objective, size=4)
    true = measured(objective, batch) / 4
    estimate = activations(objective, batch)
    print(f"{name} {encoder}: {estimate / true:.2f} of what is kept")
    assert true / 2 < estimate < 2 * true


def test_counting_computes_nothing_and_leaves_the_objective_alone():
    objective = SGMIM(tiny("vit"), mask_size=32)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    batch = {name: tensor * torch.nan for name, tensor in batch_for(objective).items()}
    assert activations(objective, batch | {"key": torch.arange(2)}) > 0
    assert all(torch.equal(before[name], now) for name, now in objective.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in objective.parameters())


def test_recomputing_activations_keeps_fewer():
    kept = {}
    for checkpointing in (False, True):
        objective = SimMIM(tiny("vit", checkpointing=checkpointing), mask_size=32)
        kept[checkpointing] = activations(objective, batch_for(objective))
    assert kept[True] < kept[False] / 2


def test_the_sum_is_that_of_its_parts():
    objective = SimMIM(tiny("vit"), mask_size=32)
    count = sum(parameter.numel() for parameter in objective.parameters())
    whole, fixed, each = (
        float(number.replace(",", ""))
        for number in re.findall(r"[\d,.]*\d", told(objective, each=3 * 2**20, images=100))[:3]
    )
    assert each == 3.0
    assert fixed == round(16 * count / 2**20)  # weights, gradients and two moments of 4 bytes each
    assert whole == pytest.approx(fixed + 300, abs=1)
