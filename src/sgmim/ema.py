"""A smoother copy of what is trained: the moving average of its weights."""

from copy import deepcopy

import torch
from jaxtyping import Bool
from torch import Tensor
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
        own, latest = (list(map(_held, o.parameters())) for o in (self.objective, objective))
        share = (1 - self.decay) * good
        torch._foreach_lerp_(own, latest, [share] * len(own))
        buffers = list(self.objective.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(objective.buffers()))


def _held(parameter: Tensor) -> Tensor:
    """What this process holds of it."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
