"""Maps that are computed as a run goes, from what a sample holds, rather than read from files."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sgmim.data.views import VIEWS

Where = Literal["image", "crop", "device"]


@dataclass(frozen=True)
class Live:
    """How a map is computed: `make` is given what it `needs`, and gives (b, c, H, W).

    An image comes as colors in [0, 1], (b, 3, H, W), other maps as they are. `where` says in which
    places it can be done, the best first: from the whole "image" as it is read, before the crop,
    which gives the numbers that a file of it would give; from the "crop", in the process that
    loads; or from the crops of a whole batch on the "device", which gives the same as "crop".
    """

    make: Callable[..., Tensor]
    needs: tuple[str, ...] = ("image",)
    where: tuple[Where, ...] = ("device", "crop", "image")

    def of(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The map of a batch, whose images are bytes."""
        with torch.no_grad():
            return self.make(
                *(batch[name] / 255 if name == "image" else batch[name] for name in self.needs)
            )


@dataclass(frozen=True)
class Computed:
    """The maps that are computed after the crop, by name."""

    crop: Mapping[str, Live] = field(default_factory=dict)
    device: Mapping[str, Live] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {*self.crop, *self.device}

    def sources(self, needs: Collection[str]) -> tuple[str, ...]:
        """What has to be read for what is needed."""
        read = [name for name in needs if name not in {*self.names, *VIEWS}]
        makers = {**self.crop, **self.device}
        for name in needs:
            read += makers[name].needs if name in makers else ()
        return tuple(dict.fromkeys(read))
