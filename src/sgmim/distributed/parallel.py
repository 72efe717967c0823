"""How the processes of a run share its weights: each holds all of them, or each a part."""

import os
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from sgmim import distributed
from sgmim.distributed.joint import JointBatchNorm
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Objective
from sgmim.precision import faster_in_bf16
from sgmim.training import Precision


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How several processes share a run; one alone does the same without.

    Args:
        strategy: "ddp": each process holds the whole model. "fsdp": each holds a share of weights,
            gradients and moments, for models that outgrow a card. "hybrid": shares within a group
            of processes, whole copies from group to group, so that only gradients cross nodes.
        group: processes that share a copy in "hybrid"; 0 is those of a node.
        weights: as which numbers shares are gathered; "auto" is bf16 on GPUs that are faster in
            it. Gradients are summed and weights kept in fp32.
        reshard: give back what was gathered of a block between forward and backward pass: less
            memory, one more gathering.
        timeout: seconds after which a process that others wait for counts as lost.

    Raises:
        ConfigurationError: options that do not go together.
    """

    strategy: Literal["ddp", "fsdp", "hybrid"] = "ddp"
    group: int = 0
    weights: Precision = "auto"
    reshard: bool = True
    timeout: float = 600.0

    def __post_init__(self):
        if not 0 < self.timeout < inf:
            raise ConfigurationError(f"timeout is a number of seconds above 0, not {self.timeout}")
        if self.group < 0:
            raise ConfigurationError(f"group is 0 (those of a node) or more, not {self.group}")
        if self.group and self.strategy != "hybrid":
            raise ConfigurationError(
                f"only strategy hybrid has groups, and {self.strategy} was asked for: "
                "leave group out, or take hybrid"
            )
        if self.strategy == "ddp" and (self.weights != "auto" or not self.reshard):
            raise ConfigurationError(
                "weights and reshard are of strategies fsdp and hybrid; with ddp nothing is "
                "gathered: leave them out"
            )

    @property
    def shards(self) -> int:
        """Processes that one copy of the model is shared by."""
        if self.strategy == "ddp":
            return 1
        return self._together() if self.strategy == "hybrid" else distributed.world()

    def mesh(self, device: torch.device) -> DeviceMesh:
        """The processes in a row that shares; in "hybrid" in rows, each of which shares."""
        if self.strategy == "fsdp":
            return init_device_mesh(device.type, (self.shards,), mesh_dim_names=("shard",))
        shape = (distributed.world() // self.shards, self.shards)
        return init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard"))

    def gathers_bf16(self, device: torch.device, precision: Precision) -> bool:
        """Whether weights are gathered as bf16, for a forward pass of some precision."""
        if self.weights == "auto":
            return precision != "fp32" and device.type == "cuda" and faster_in_bf16(device)
        if self.weights == "bf16" and precision == "fp32":
            raise ConfigurationError(
                "a forward pass in fp32 needs its weights in fp32: "
                "set parallel.weights to fp32, or training.precision to bf16"
            )
        return self.weights == "bf16"

    def _together(self) -> int:
        world, group = distributed.world(), self.group or distributed.local_world()
        if world % group:
            raise ConfigurationError(
                f"{world} processes cannot be put into groups of {group}, which share one copy of "
                "the model in strategy hybrid: give a parallel.group that divides them"
            )
        own = int(os.environ.get("LOCAL_RANK", distributed.rank()))
        if not self.group and distributed.rank() % group != own:
            raise ConfigurationError(
                "strategy hybrid needs processes that are counted node by node "
                "(srun --distribution=block), or a parallel.group"
            )
        return group


def place(
    model: Objective, device: torch.device, how: Parallel, precision: Precision = "auto"
) -> None:
    """Put a model on its device: whole, or this process's share of it.

    Before its optimizer is made. A model that is shared never is on a device whole: its parts go
    there one by one.

    Raises:
        ConfigurationError: the processes cannot be grouped as asked.
    """
    if distributed.world() > 1:
        synchronize(model, device)
    in_bf16 = how.gathers_bf16(device, precision)
    if how.strategy == "ddp" or distributed.world() == 1:
        model.to(device)
        return
    # inputs stay as they are: autocast says what is computed in bf16, and depth needs its digits
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if in_bf16 else None,
        reduce_dtype=torch.float32 if in_bf16 else None,
        cast_forward_inputs=False,
    )
    share = partial(fully_shard, mesh=how.mesh(device), mp_policy=policy)
    encoders = [module for module in model.modules() if isinstance(module, Encoder)]
    for block in (block for encoder in encoders for block in encoder.blocks):
        share(block, reshard_after_forward=how.reshard)
    share(model)
    for method in ("pictures", "predict"):  # entered from outside as forward is
        if hasattr(model, method):
            register_fsdp_forward_method(model, method)


def synchronize(model: nn.Module, device: torch.device) -> None:
    """Let the batch norms that ask for it count the images of all processes."""
    on_gpu = device.type == "cuda"
    convert = nn.SyncBatchNorm.convert_sync_batchnorm if on_gpu else JointBatchNorm.of
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if getattr(norm, "synchronized", False):
                setattr(parent, name, convert(norm))


def compile_(model: Objective) -> None:
    """Compile a model: a shared one block by block, since gathering cannot be compiled."""
    if not isinstance(model, FSDPModule):
        model.compile()
        return
    for block in model.encoder.blocks:
        block.forward = torch.compile(block.forward)  # type: ignore[method-assign]


def is_shared(model: nn.Module) -> bool:
    """Whether each process holds only a share of it."""
    return isinstance(model, FSDPModule)


def let_go(model: Objective) -> None:
    """Keep but the own share, after a forward pass without a backward pass."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """All weights and statistics, whole and on the CPU, by name.

    Of a shared model every process must ask for them, and only the main process gets any.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(model, options=options))
