"""Which patches of several maps are visible: always as many of all together, but of some maps more
than of others, and every time of others.

"MultiMAE: Multi-modal Multi-task Masked Autoencoders" (Bachmann et al., 2022), section 3.2.

    shares ~ Dirichlet(alpha) --> so many of each map, at random --> as many of all as are wanted
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, pi

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sgmim import draws
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.masking import count_hidden

SHARES, NOISE, TIES = range(3)  # streams of random numbers
TRIES = 8  # at a gamma draw; one in 20 fails at most, so all of them 4 times in 10^11


@dataclass(frozen=True)
class Dealt:
    """Which patches of some maps are visible, equally many in every image."""

    rows: Int[Tensor, "b k"]  # their places among the patches of all maps, one map after the other
    hidden: Bool[Tensor, "b maps n"]  # the patches of every map that are not


class DirichletMask(nn.Module):
    """Hides `ratio` of the patches of all maps together, picked at random.

    Args:
        encoder: whose patches are hidden; those of all maps lie on them.
        alphas: of every map: where they are large all maps show alike, where they are small one
            shows most; a map with a larger one than others shows more.
        ratio: share of all patches that is hidden.

    Raises:
        ConfigurationError: an alpha that is not above 0, or a ratio that leaves nothing.
    """

    alphas: Float[Tensor, " maps"]

    def __init__(self, encoder: Encoder, *, alphas: Sequence[float], ratio: float):
        super().__init__()
        if not all(0 < alpha < inf for alpha in alphas):
            raise ConfigurationError(
                f"alpha, the concentration of shares, is above 0, not {list(alphas)}"
            )
        self.grid, self.maps = encoder.grid, len(alphas)
        self.cells = self.grid[0] * self.grid[1]  # patches of one map
        self.visible = self.maps * self.cells - count_hidden(self.maps * self.cells, ratio)
        if not 0 < ratio < 1 or not self.visible:
            raise ConfigurationError(
                f"a mask ratio of {ratio} leaves {self.visible} of the {self.maps * self.cells} "
                f"patches of {self.maps} maps: it lies between 0 and 1, and one is to be visible"
            )
        self.register_buffer("alphas", torch.tensor(alphas).double(), persistent=False)

    def forward(self, keys: Int[Tensor, " b"]) -> Dealt:
        """Depends on an image's key alone."""
        noise = draws.uniform(keys, self.maps * self.cells, NOISE).unflatten(1, (self.maps, -1))
        ties = draws.uniform(keys, self.maps * self.cells, TIES)
        return dealt(shares(keys, self.alphas), noise, ties, self.visible)

    def at(self, hidden: Bool[Tensor, "b n"]) -> Bool[Tensor, "b h w"]:
        """The patches of one map where they lie."""
        return hidden.unflatten(1, self.grid)


def dealt(
    shares: Float[Tensor, "b maps"],
    noise: Float[Tensor, "b maps n"],
    ties: Float[Tensor, "b all"],
    count: int,
) -> Dealt:
    """So many visible patches of all maps, in these shares.

    Rounded one by one the shares may come to a few more or less, and one may be more than its map
    has: that is set right at random, whatever the map (the authors' generate_random_masks).
    """
    counts = (shares * count).round()  # halves to even
    beyond = noise.argsort(dim=2, stable=True) >= counts[..., None]
    order = (beyond.flatten(1) + ties).argsort(dim=1, stable=True)
    rows = order[:, :count]
    hidden = torch.ones_like(order, dtype=torch.bool).scatter(1, rows, False)
    return Dealt(rows, hidden.view_as(beyond))


def shares(
    keys: Int[Tensor, " b"], alphas: Float[Tensor, " maps"], stream: int = SHARES
) -> Float[Tensor, "b maps"]:
    """A draw from the Dirichlet distribution for every key: gamma draws over their sum.

    In logarithms, for with an alpha of 0.01 most would be 0 in any format of numbers.
    """
    return log_gammas(keys, alphas, stream).softmax(dim=1)


def log_gammas(
    keys: Int[Tensor, " b"], alphas: Float[Tensor, " maps"], stream: int
) -> Float[Tensor, "b maps"]:
    """Logarithms of gamma draws, by rejection with a fixed number of tries, so that nobody waits
    for the last of a batch.

    Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables" (2000): a draw for
    alpha + 1, of which they take 95 % or more, times u^(1 / alpha). In double precision, in which
    devices agree on the counts that shares are rounded to.
    """
    maps = len(alphas)
    numbers = draws.uniform(keys, maps * (3 * TRIES + 1), stream).double() + 2**-25  # above 0
    tries, last = numbers.split([maps * 3 * TRIES, maps], dim=1)
    u, angle, accepting = tries.view(-1, maps, 3, TRIES).unbind(2)  # (b, maps, TRIES)
    normal = (-2 * u.log()).sqrt() * (2 * pi * angle).cos()  # Box and Muller
    d = (alphas + 1 - 1 / 3)[:, None]
    v = (1 + normal / (3 * d.sqrt())).clamp(min=1e-9) ** 3
    taken = accepting.log() < normal.square() / 2 + d - d * v + d * v.log()
    first = taken.byte().argmax(dim=2, keepdim=True)
    return (d * v).gather(2, first)[..., 0].log() + last.log() / alphas
