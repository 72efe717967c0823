"""What a few seeds let one say: a mean, its spread, and the interval that it lies in."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, stdev

LEVEL = 0.95  # of an interval, two-sided


@dataclass(frozen=True)
class Estimate:
    """Values of one quantity, one a seed: for two things to be told apart, their differences over
    the same seeds (paired, as seeds share labels and order)."""

    values: tuple[float, ...]
    mean: float
    spread: float  # standard deviation over seeds; 0 of one value
    low: float  # of the interval that the mean lies in, after Student's t
    high: float

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def half(self) -> float:
        """Of the interval's width: infinite for one value, of which nothing is known."""
        return self.high - self.mean


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean of some values and its interval, as if they were drawn from a normal distribution.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing can be estimated of no values")
    center, count = mean(values), len(values)
    if count < 2:
        return Estimate(tuple(values), center, 0.0, -inf, inf)
    spread = stdev(values)
    half = _student(count - 1, level) * spread / sqrt(count)
    return Estimate(tuple(values), center, spread, center - half, center + half)


def told(values: Sequence[float], digits: int = 3) -> str:
    """Mean and spread, as tables have them."""
    found = estimate(values)
    spread = f" ± {found.spread:.{digits}f}" if found.count > 1 else ""
    return f"{found.mean:.{digits}f}{spread}"


def _student(freedom: int, level: float) -> float:
    """How many standard errors either side of a mean hold a share `level` of what it may be."""
    from scipy.special import stdtrit  # here: only who asks for an interval waits for it

    return float(stdtrit(freedom, (1 + level) / 2))
