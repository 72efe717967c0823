"""What several processes learn together is what one learns from the joined batch."""

import pytest
import torch
from torch import nn
from torch.optim import SGD  # AdamW makes as much of a rounding error as of a gradient
from torch.testing import assert_close

from conftest import batch_for, tiny
from processes import joined
from sgmim import distributed
from sgmim.distributed import parallel
from sgmim.distributed.joint import JointBatchNorm
from sgmim.distributed.parallel import Parallel
from sgmim.methods.dino import DINO
from sgmim.methods.mocov3 import MoCoV3
from sgmim.training import read, steps

CPU = torch.device("cpu")
WORLD, STEPS, BATCH = 2, 3, 8
METHODS = {
    "mocov3": (MoCoV3, {"hidden": 32, "dim": 16}),
    "dino": (DINO, {"prototypes": 32, "hidden": 32, "bottleneck": 16, "freeze_last": 1.0}),
}
KINDS = {"ddp": Parallel(), "fsdp": Parallel(strategy="fsdp")}


def made(name, how=None):
    torch.manual_seed(0)
    make, options = METHODS[name]
    method = make(tiny("vit"), **options)
    parallel.place(method, CPU, how or Parallel())
    return method


def trained(method, share=slice(None), poisoned=False, **options):
    """The numbers of a few steps on a share of the batch."""
    batch = {name: tensor[share] for name, tensor in batch_for(method, size=BATCH).items()}
    if poisoned:
        batch["view"] = batch["view"] * torch.nan
    taken = steps(
        distributed.wrap(method), SGD(method.parameters(), lr=0.01), [batch] * STEPS,
        total=STEPS, epoch=2.0, precision="fp32", **options,
    )  # fmt: skip
    return [distributed.mean(read(step)) for step in taken]


def all_kinds(rank):
    """What came of the share of this process, by method and kind."""
    found = {}
    share = slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
    for name in METHODS:
        for kind, how in KINDS.items():
            method = made(name, how)
            clip = {"clip": 0.01, "clip_each": True} if name == "dino" else {}
            numbers = trained(method, share, **clip)
            pictures = method.pictures(batch_for(method)) if rank == 0 or kind == "fsdp" else None
            parallel.let_go(method)
            found[name, kind] = numbers, parallel.weights_of(method), pictures is not None
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return joined(all_kinds, WORLD, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_losses_gradients_weights_and_statistics_are_those_of_one_process(name, kind, found):
    """Weights are those of encoder, heads and teacher; statistics centers and batch norms'."""
    method = made(name)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    clip = {"clip": 0.01, "clip_each": True} if name == "dino" else {}
    numbers = trained(method, **clip)
    for process in found:
        assert_close(process[name, kind][0], numbers, rtol=1e-4, atol=1e-5)
    weights, ours = found[0][name, kind][1], method.state_dict()
    assert weights.keys() == ours.keys()
    for each, tensor in ours.items():
        assert_close(weights[each], tensor, rtol=1e-4, atol=1e-4)
    changed = {each for each, tensor in ours.items() if not torch.equal(tensor, before[each])}
    state = {"mocov3": "projector.1.running_mean", "dino": "center"}[name]
    teacher = {"mocov3": "key_encoder", "dino": "encoder"}[name]
    assert state in changed and f"{teacher}.backbone.norm.weight" in changed


@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_failed_leaves_weights_teacher_and_statistics_as_they_were(name):
    method = made(name)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    with pytest.raises(Exception, match="diverged"):
        trained(method, poisoned=True)
    assert_close(method.state_dict(), before, rtol=0, atol=0)


def normed(rank):
    torch.manual_seed(0)
    everything, weights = torch.randn(8, 5, 3, 2), torch.randn(8, 5, 3, 2)
    share = slice(4 * rank, 4 * rank + 4)
    norm = JointBatchNorm.of(nn.BatchNorm2d(5))
    x = everything[share].requires_grad_()
    y = norm(x)
    (y * weights[share]).sum().backward()
    return y.detach(), x.grad, norm.running_mean, norm.running_var


def test_a_joint_batch_norm_is_torch_s_on_the_joined_batch(tmp_path):
    torch.manual_seed(0)
    x, weights = torch.randn(8, 5, 3, 2, requires_grad=True), torch.randn(8, 5, 3, 2)
    norm = nn.BatchNorm2d(5)
    y = norm(x)
    (y * weights).sum().backward()
    parts = joined(normed, 2, tmp_path)
    for place, theirs in enumerate((y, x.grad)):
        ours = torch.cat([part[place] for part in parts])
        assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for part in parts:
        assert_close(part[2:], (norm.running_mean, norm.running_var), rtol=1e-5, atol=1e-6)
