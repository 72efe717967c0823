"""Tensors of a step over all processes, where a loss is of the whole batch and not of a share.

In one process each of these is what it says of that one; so it is where a model has no content
(memory.py), which no other process knows of.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import all_gather_into_tensor, all_reduce
from torch.distributed.nn import functional as differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from sgmim.distributed import rank, world


def rows(tensor: Float[Tensor, "b d"]) -> Float[Tensor, "_ d"]:
    """The rows of all processes, by rank, through which no gradient flows."""
    if _is_alone(tensor):
        return tensor
    found = tensor.new_empty(world() * len(tensor), tensor.shape[1])
    all_gather_into_tensor(found, tensor.detach().contiguous())
    return found


def first_row(tensor: Float[Tensor, "b d"]) -> int:
    """Where in `rows` those of this process begin."""
    return 0 if _is_alone(tensor) else rank() * len(tensor)


def mean(tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The mean of what the processes have, through which no gradient flows."""
    if _is_alone(tensor):
        return tensor
    total = tensor.detach().clone()
    all_reduce(total)
    return total / world()


class JointBatchNorm(_BatchNorm):
    """A batch norm over the images of all processes, on a CPU; SyncBatchNorm is for GPUs."""

    synchronized: ClassVar[bool] = True
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def of(cls, norm: nn.Module) -> "JointBatchNorm":
        """With the weights and statistics of another, not with copies of them."""
        assert isinstance(norm, _BatchNorm)
        assert norm.momentum is not None and norm.track_running_stats
        joint = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        joint.weight, joint.bias, joint.training = norm.weight, norm.bias, norm.training
        for name, buffer in norm.named_buffers():
            setattr(joint, name, buffer)
        return joint

    def forward(self, input: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        if not self.training or _is_alone(input):
            return super().forward(input)
        axes, shape = [0, *range(2, input.ndim)], (1, -1, *[1] * (input.ndim - 2))
        count = world() * input.numel() // input.shape[1]
        mean = differentiable.all_reduce(input.float().sum(axes)) / count
        centered = input.float() - mean.view(shape)
        variance = differentiable.all_reduce(centered.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normal = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _remember(self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # of any number of axes


def _is_alone(tensor: Tensor) -> bool:
    return world() == 1 or tensor.is_meta
