"""A smoother copy of what is trained: the moving average of its weights."""

from copy import deepcopy

import torch
from torch import Tensor

from sgmim.objective import Objective


class MovingAverage:
    """A copy of an objective that follows it at a distance.

    torch's AveragedModel does the same but waits for the GPU in every update.
    """

    def __init__(self, objective: Objective, decay: float = 0.9999):
        self.objective = deepcopy(objective).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, objective: Objective) -> None:
        """Come closer by the share `1 - decay`; statistics and the like are taken over."""
        own: list[Tensor] = [*self.objective.parameters()]
        latest: list[Tensor] = [*objective.parameters()]
        torch._foreach_lerp_(own, latest, 1 - self.decay)
        buffers = list(self.objective.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(objective.buffers()))
