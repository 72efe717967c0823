"""FAST-9/16 with non-maximum suppression, for many images at once and on any device.

"Machine learning for high-speed corner detection" (Rosten and Drummond, 2006), as OpenCV has it: a
pixel is a corner if 9 neighbors in a row, of the 16 on a circle around it, are all brighter than it
by more than a threshold, or all darker. Its score is the largest threshold at which it still is
one; it is a keypoint if its score is above those of the 8 pixels around it.

Where OpenCV asks a few neighbors first and leaves most pixels at that, here nothing is asked twice:
the brightest arc is the largest over all arcs of the least of its 9 shades, and arcs share pairs,
fours and eights. So all is in bytes, without a branch. The batch is one long row of pixels, in
which a neighbor is a shift by a fixed number of places; what reaches over an edge is the border of
3 pixels that has no keypoints anyway.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from sgmim.errors import ConfigurationError

REACH = 3  # radius of the circle
CIRCLE = (  # down and across, in turn
    (3, 0), (3, 1), (2, 2), (1, 3), (0, 3), (-1, 3), (-2, 2), (-3, 1),
    (-3, 0), (-3, -1), (-2, -2), (-1, -3), (0, -3), (1, -3), (2, -2), (3, -1),
)  # fmt: skip
PART = 1 << 18  # pixels at once on a CPU: their shades and arcs stay in its cache
MOST = 1 << 23  # and elsewhere: they take some 20 bytes a pixel

Fold = Callable[..., Tensor]  # torch.minimum or torch.maximum


def points(grey: UInt8[Tensor, "b H W"], threshold: int = 10) -> Bool[Tensor, "b H W"]:
    """Where the keypoints of grey images are.

    Raises:
        ConfigurationError: the threshold is no difference of two grey levels.
    """
    if not 0 <= threshold <= 255:
        raise ConfigurationError(f"a threshold of FAST is 0 to 255 grey levels, not {threshold}")
    height, width = grey.shape[1:]
    if min(height, width) <= 2 * REACH:
        return torch.zeros_like(grey, dtype=torch.bool)
    at_once = max(1, (PART if grey.is_cpu else MOST) // (height * width))
    return torch.cat([highest(scores(part, threshold)) for part in grey.split(at_once)])


def scores(grey: UInt8[Tensor, "b H W"], threshold: int = 10) -> UInt8[Tensor, "b H W"]:
    """The largest threshold at which a pixel is a corner; 0 where it is none at `threshold`."""
    width = grey.shape[2]
    reach = REACH * width + REACH
    flat = grey.flatten()
    end = len(flat) - reach
    ring = [flat[reach + shift : end + shift] for shift in (y * width + x for y, x in CIRCLE)]
    center = flat[reach:end]
    brightest = _best_arc(ring, torch.minimum, torch.maximum)
    darkest = _best_arc(ring, torch.maximum, torch.minimum)
    brighter = torch.maximum(brightest, center) - center  # bytes do not go below 0
    darker = center - torch.minimum(darkest, center)
    difference = torch.maximum(brighter, darker)
    found = torch.zeros_like(grey)
    found.view(-1)[reach:end] = (difference - 1) * (difference > threshold)
    for edge in (found[:, :REACH], found[:, -REACH:], found[..., :REACH], found[..., -REACH:]):
        edge.zero_()
    return found


def highest(scores: UInt8[Tensor, "b H W"]) -> Bool[Tensor, "b H W"]:
    """Where a score is above those of the 8 pixels around it."""
    width, flat = scores.shape[2], scores.flatten()
    beside = torch.maximum(flat[:-2], flat[2:])
    row = torch.maximum(beside, flat[1:-1])
    around = torch.maximum(row[: -2 * width], row[2 * width :])
    around = torch.maximum(around, beside[width:-width])
    inner = slice(width + 1, len(flat) - width - 1)
    found = torch.zeros_like(scores, dtype=torch.bool)
    found.view(-1)[inner] = flat[inner] > around
    return found


def _best_arc(ring: Sequence[Tensor], least: Fold, best: Fold) -> Tensor:
    """The best of all arcs of 9 pixels, each as good as the `least` of them.

    Two arcs that share 8 pixels are as good as those and the better one of their ends. All is done
    in place, and a third faster for it.
    """
    runs = [least(ring[i], ring[(i + 1) % 16]) for i in range(1, 17, 2)]  # of 2 pixels each
    for step in (1, 2):  # of 4, then of 8
        first = [run.clone() for run in runs[:step]]
        for run, next_one in zip(runs, [*runs[step:], *first], strict=True):
            least(run, next_one, out=run)
    for i, run in enumerate(runs):  # of the pixels 2 i + 1 to 2 i + 8
        least(run, best(ring[2 * i], ring[(2 * i + 9) % 16]), out=run)
        best(runs[0], run, out=runs[0])
    return runs[0]
