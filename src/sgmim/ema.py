"""A smoother copy of what is trained, or of a part of it: the moving average of its weights."""

from copy import deepcopy
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sgmim.layers import take_chance_away
from sgmim.objective import Objective
from sgmim.schedules import half_cosine

M = TypeVar("M", bound=nn.Module)


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


def follower(model: M) -> M:
    """A copy of a part of an objective, that is to follow it: without gradient, and nothing in it
    is left to chance. The objective calls `approach` after every step."""
    copy = deepcopy(model).requires_grad_(False)
    take_chance_away(copy)
    return copy


def pace(momentum: float, way: float) -> float:
    """The share of the way that a follower moves, when the run is `way` (0 to 1) through: its
    momentum rises to 1 by half a cosine (BYOL, MoCo v3, DINO)."""
    return 1 - half_cosine(momentum, 1.0, way)


@torch.no_grad()
def approach(copy: nn.Module, model: nn.Module, share: Float[Tensor, ""]) -> None:
    """Move the weights of a copy towards those of a model, by a share of the way (0 stays), which
    nobody waits for. Of models that are shared among processes each moves its own part."""
    own, latest = ([_held(parameter) for parameter in m.parameters()] for m in (copy, model))
    torch._foreach_lerp_(own, latest, [share] * len(own))


def _held(parameter: Tensor) -> Tensor:
    """What this process holds of it."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
