"""A smoother copy of what is trained: the moving average of its weights."""

from copy import deepcopy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sgmim.objective import Objective


class MovingAverage:
    """A copy of an objective that follows it at a distance.

    torch's AveragedModel does the same but waits for the GPU in every update.
    """

    def __init__(self, objective: Objective, decay: float = 0.9999):
        self.objective = deepcopy(objective).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, objective: Objective, good: Bool[Tensor, ""]) -> None:
        """Come closer by the share `1 - decay` if the step was good, without waiting for whether it
        was; statistics and the like are taken over.
        """
        approach(self.objective, objective, (1 - self.decay) * good)
        buffers = list(self.objective.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(objective.buffers()))


@torch.no_grad()
def approach(copy: nn.Module, model: nn.Module, share: Float[Tensor, ""]) -> None:
    """Move the weights of a copy towards those of a model, by a share of the way (0 stays), which
    nobody waits for. Of models that are shared among processes each moves its own part."""
    own, latest = ([_held(parameter) for parameter in m.parameters()] for m in (copy, model))
    torch._foreach_lerp_(own, latest, [share] * len(own))


def _held(parameter: Tensor) -> Tensor:
    """What this process holds of it."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
