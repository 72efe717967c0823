"""In which order the samples come: a function of the seed alone, with no state to save.

The order is one endless row, epoch after epoch, each a new permutation. Step k takes the k-th
`batch` of the row. So a batch may reach into the next epoch: nothing is dropped, every sample comes
equally often, and fewer samples than a batch are no special case. Any step can be started at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sgmim import draws
from sgmim.errors import ConfigurationError

SECOND = 1 << 11  # a stream whose numbers share none with the first 2 ** 31 of stream 0


@dataclass(frozen=True)
class Order:
    """The samples of every step. `batch` counts those of all processes, of which process `rank`
    takes its share: the shares of all ranks, one after another, are the batch of one process.

    Raises ConfigurationError where a batch cannot be shared evenly.
    """

    count: int  # samples there are
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self):
        if self.batch < 1 or self.batch % self.world:
            raise ConfigurationError(
                f"a batch of {self.batch} cannot be shared by {self.world} processes; "
                f"take a multiple of {self.world}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch, as a loader that drops the last one would count."""
        return max(1, self.count // self.batch)

    def __call__(self, start: int = 0) -> Iterator[list[tuple[int, int]]]:
        """(epoch, index) of every sample of this rank, step by step from `start`, without end."""
        share = self.batch // self.world
        epoch, order = -1, torch.empty(0)
        place = start * self.batch + self.rank * share
        while True:
            samples = []
            for position in range(place, place + share):
                if position // self.count != epoch:
                    epoch = position // self.count
                    order = permutation(self.count, self.seed, epoch)
                samples.append((epoch, int(order[position % self.count])))
            yield samples
            place += self.batch


def permutation(count: int, seed: int, epoch: int) -> Int[Tensor, " {count}"]:
    """A random order of 0 .. count - 1, the same on any machine and with any version of torch."""
    keys = torch.tensor([draws.key(seed, epoch)])
    coarse, fine = (draws.uniform(keys, count, stream)[0].double() for stream in (0, SECOND))
    return (coarse + fine / 2**24).argsort(stable=True)  # 48 bits: ties are rare, and stable
