"""In which order the samples come: a function of the seed alone, with no state to save.

The order is one endless row, epoch after epoch, each a new permutation. Step k takes the k-th
`batch` of the row. So a batch may reach into the next epoch: nothing is dropped, every sample comes
equally often, and fewer samples than a batch are no special case. Any step can be started at, at
once: of an epoch's order only the places of a step are computed, however many samples there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sgmim import draws
from sgmim.errors import ConfigurationError


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
        place = start * self.batch + self.rank * share
        while True:
            epochs = range(place // self.count, (place + share - 1) // self.count + 1)
            yield [sample for epoch in epochs for sample in self._of_epoch(epoch, place, share)]
            place += self.batch

    def _of_epoch(self, epoch: int, place: int, share: int) -> list[tuple[int, int]]:
        """Those of the next `share` samples from a place in the row that are of an epoch."""
        first = epoch * self.count
        places = np.arange(max(place, first), min(place + share, first + self.count)) - first
        order = draws.shuffled(draws.key(self.seed, epoch), places, self.count)
        return [(epoch, index) for index in order.tolist()]
