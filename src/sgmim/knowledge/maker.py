"""What makes maps: the contract of every source of knowledge.

A file of this room that sgmim can make maps with offers `maker`, a function whose keywords are the
options of 'sgmim knowledge NAME'. It returns something that turns images into maps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sgmim.data.stored import Note


@runtime_checkable
class Maker(Protocol):
    """Called with colors in [0, 1], (b, 3, H, W), it gives raw maps (b, c, h, w).

    What it gives is in its own unit, direction and size (a network's may be smaller than the
    image); `note` says what that is, and maps.canonical makes of it what is stored.
    """

    @property
    def note(self) -> Note: ...

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]: ...


@dataclass(frozen=True)
class Function:
    """A function as a maker: computed in fp32 unless another precision is asked for by name."""

    function: Callable[[Tensor], Tensor]
    note: Note

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Tensor:
        return self.function(image)


@dataclass(frozen=True)
class Reader(Function):
    """A function that is shown a map instead of the image: normals are made of depth.

    `reads` is the name of that map, (b, c, H, W) with NaN where nothing is known, and `found` says
    where it lies, in keywords of Images: {"maps": {"depth": folder}}.
    """

    reads: str
    found: dict[str, dict[str, Any]]

    def __call__(self, image: Float[Tensor, "b c H W"]) -> Tensor:
        return self.function(image)
