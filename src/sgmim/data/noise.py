"""Maps that are wrong as those of a teacher are: what knowledge is worth that is not exact."""

from collections.abc import Collection, Mapping
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import draws
from sgmim.data.derived import Derived
from sgmim.data.geometry import rule
from sgmim.data.images import Sample, Source
from sgmim.errors import ConfigurationError, unknown

NODES = 5  # of the field, down and across
UNIT = 1.5  # a bilinear field between normal numbers deviates by 2/3 on average
CELL = 0.1  # of the shorter side, times the strength: a side of what is seen as one


class Noisy(Derived):
    """A source some of whose maps are wrong, always in the same way for one image and map.

    In numbers a reader knows: depth of strength 0.1 has an AbsRel, |noisy - exact| / exact, of 0.08
    on made-up rooms and 0.10 on streets, after the scale that fits best; of 0.3 one of 0.24 and
    0.31. Networks trained on NYU-v2 have about 0.1 there (GLPN .098). See `noisy` for how it comes.

    Args:
        source: of images and maps.
        strength: of each map's noise; 0 leaves it as it is.

    Raises:
        ConfigurationError: a map that there is not, or whose values are ids or points; or a
            strength below 0.
    """

    def __init__(self, source: Source, strength: Mapping[str, float]):
        super().__init__(source)
        maps = {name for name in self.has if rule(name).interpolation == "bilinear"}
        for name, amount in strength.items():
            if name not in maps - {"image", "second", "camera", "label"}:
                raise unknown("map whose values can be wrong by a little", name, maps - {"image"})
            if not 0 <= amount < float("inf"):
                raise ConfigurationError(f"noise of {name} is 0 or more, not {amount}")
        self.strength = dict(strength)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`."""
        sample = self.source.read(index, needs)
        for name, strength in self.strength.items():
            if name in sample:
                key = draws.key(crc32(f"{name} {self.names[index]}".encode()))
                sample[name] = noisy(sample[name], strength, key)
        return sample


def noisy(values: Float[Tensor, "c H W"], strength: float, key: int) -> Float[Tensor, "c H W"]:
    """A map that is wrong in three ways that a teacher's are; a hole (NaN) stays one.

    Its edges are blurred: every square of strength / 10 of the shorter side becomes its mean,
    bilinear in between. Its range is bent: from the least value to the greatest, a share t of the
    way becomes t^exp(strength * n), as a wrong shift of inverse depth bends near against far. And
    it is off by regions: multiplied by exp(strength * field), a smooth random field for each
    channel, 5 x 5 normal numbers over the image with bilinear ones in between, of unit deviation.

    So `strength` is about the deviation of the logarithm of depth. A wrong scale or unit is not
    among these: maps are standardized before they are learnt from, which takes it away.
    """
    if not strength:
        return values
    known = values.isfinite()
    numbers = _normal(key, 1 + NODES**2 * len(values))
    bent = _bent(_blurred(values, strength), float(torch.exp(strength * numbers[0])))
    nodes = UNIT * numbers[1:].unflatten(0, (1, len(values), NODES, NODES))
    field = F.interpolate(nodes, values.shape[1:], mode="bilinear", align_corners=True)[0]
    return (bent * torch.exp(strength * field)).where(known, torch.nan)


def _blurred(values: Float[Tensor, "c H W"], strength: float) -> Float[Tensor, "c H W"]:
    """Squares as their mean, of which only what is known counts."""
    size = values.shape[1:]
    cell = max(1.0, CELL * strength * min(size))  # pixels
    if cell == 1:
        return values
    known = values.isfinite().to(values.dtype)
    both = torch.stack([values.nan_to_num(), known])  # (2, c, H, W)
    coarse = F.interpolate(both, tuple(round(side / cell) for side in size), mode="area")
    total, count = F.interpolate(coarse, size, mode="bilinear")
    return total / count


def _bent(values: Float[Tensor, "c H W"], power: float) -> Float[Tensor, "c H W"]:
    """The share of the way from least to greatest, to a power."""
    known = values[values.isfinite()]
    if not len(known):
        return values
    low, high = known.min(), known.max()
    return low + (high - low) * ((values - low) / (high - low).clamp(min=1e-12)) ** power


def _normal(key: int, count: int) -> Float[Tensor, " n"]:
    """Normal numbers that depend on a key alone."""
    uniform = draws.uniform(torch.tensor([key]), count)[0]  # multiples of 2^-24, 0 among them
    return 2**0.5 * torch.erfinv(2 * uniform + 2**-24 - 1)
