"""Tables of positions for a grid or window of another size, as the authors resize them.

timm resizes both as well, but biases along straight lines and positions with a filter: what
SimMIM's and MAE's fine-tuning load differs from that by more than rounding.
"""

from math import isqrt

import torch
from jaxtyping import Float
from timm.layers import resample_abs_pos_embed
from torch import Tensor

Grid = tuple[int, int]  # patches down and across


def positions(
    table: Float[Tensor, "1 n d"], grid: Grid, *, prefix: int, source: Grid | None = None
) -> Float[Tensor, "1 m d"]:
    """Positions of the grid `source`, by default a square one, for another; bicubic, as by MAE's
    util/pos_embed.py. The first `prefix` are those of tokens that have no place."""
    return resample_abs_pos_embed(
        table,
        new_size=list(grid),
        old_size=list(source) if source else None,
        num_prefix_tokens=prefix,
        antialias=False,
    )


def relative_biases(
    table: Float[Tensor, "n heads"], window: Grid, *, count: int, source: Grid | None = None
) -> Float[Tensor, "count heads"]:
    """Biases of a window for another; SimMIM's utils.py, after BEiT's.

    Near offsets keep their bias and far ones are spread out: the old offsets are laid at distances
    that grow by a fixed ratio, up to the new farthest, and a cubic spline goes through them.

    Args:
        table: a bias for every offset (row by row) and head, then those that are no offset's.
        window: the new one.
        count: rows of the new table, so how many are no offset's.
        source: the old window, by default a square one.

    Raises:
        ValueError: the table is not of a square window, or not of `source`.
    """
    rows, columns = (2 * side - 1 for side in window)
    old = len(table) - (count - rows * columns)
    down, across = (2 * side - 1 for side in source) if source else (isqrt(max(old, 0)),) * 2
    if down * across != old:
        raise ValueError(f"{len(table)} biases are those of no {source or 'square'} window")
    offsets = table[:old].unflatten(0, (down, across)).double()
    y, x = (spread(*sides).to(table.device) for sides in ((down, rows), (across, columns)))
    resized = torch.einsum("ys, xt, sth -> yxh", y, x, offsets)
    return torch.cat([resized.flatten(0, 1).to(table.dtype), table[old:]])


def spread(source: int, target: int) -> Float[Tensor, "{target} {source}"]:
    """What each of `target` offsets takes of each of `source` ones, along one axis."""
    steps, reach = source // 2, target // 2
    ratio = growth(steps, reach)
    one_way = torch.cumsum(ratio ** torch.arange(steps, dtype=torch.float64), 0)
    places = torch.cat([-one_way.flip(0), torch.zeros(1, dtype=torch.float64), one_way])
    wanted = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return spline(places, wanted.clamp(places[0], places[-1]))


def growth(steps: int, reach: int) -> float:
    """The ratio by which so many steps, the first of 1, have to grow to come to `reach`; between
    1.01 and 1.5, and halved into place as the authors do, to 1e-6."""
    low, high, ratio = 1.01, 1.5, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if sum(ratio**step for step in range(steps)) > reach:
            high = ratio
        else:
            low = ratio
    return ratio


def spline(x: Float[Tensor, " n"], wanted: Float[Tensor, " m"]) -> Float[Tensor, "m n"]:
    """The matrix that takes values at `x` to those of the cubic spline through them.

    Its two outermost pieces at either end are one polynomial ("not-a-knot"), as FITPACK's, which
    the authors use. Through fewer than four points it is made of straight lines.
    """
    n = len(x)
    values = torch.eye(n, dtype=x.dtype)
    if n == 1:
        return values.expand(len(wanted), 1)
    h, slopes = x.diff(), values.diff(dim=0) / x.diff()[:, None]
    bends = torch.zeros_like(values)  # second derivatives at x
    if n > 3:
        system, inner = torch.zeros_like(values), torch.arange(1, n - 1)
        system[inner, inner - 1], system[inner, inner + 1] = h[:-1], h[1:]
        system[inner, inner] = 2 * (h[:-1] + h[1:])
        system[0, :3] = torch.stack([-h[1], h[0] + h[1], -h[0]])
        system[-1, -3:] = torch.stack([-h[-1], h[-2] + h[-1], -h[-2]])
        sides = torch.zeros_like(values)
        sides[1:-1] = 6 * slopes.diff(dim=0)
        bends = torch.linalg.solve(system, sides)
    piece = torch.searchsorted(x, wanted, right=True).clamp(1, n - 1) - 1
    t, width = (wanted - x[piece])[:, None], h[piece][:, None]
    start, end = bends[piece], bends[piece + 1]
    slope = slopes[piece] - width * (2 * start + end) / 6
    return values[piece] + t * (slope + t * (start / 2 + t * (end - start) / (6 * width)))
