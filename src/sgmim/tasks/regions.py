"""The part of a depth map that is scored: where a laser reaches, or inside a blank border."""

from collections.abc import Callable
from typing import Literal

from sgmim.errors import ConfigurationError

Region = Literal["none", "garg", "eigen", "nyu_eigen"]
Box = tuple[slice, slice]  # rows, columns


def whole(height: int, width: int) -> Box:
    return slice(0, height), slice(0, width)


def garg(height: int, width: int) -> Box:
    """Where KITTI's laser reaches, by Garg et al. (2016): 143:349, 43:1172 of 352 x 1216."""
    return part(height, 0.40810811, 0.99189189), part(width, 0.03594771, 0.96405229)


def eigen(height: int, width: int) -> Box:
    """The same by Eigen et al. (2014): rows 117:321, columns 43:1172 of 352 x 1216 pixels."""
    return part(height, 0.3324324, 0.91351351), part(width, 0.0359477, 0.96405229)


def nyu_eigen(height: int, width: int) -> Box:
    """Inside NYU-v2's blank border; raises ConfigurationError for maps of another size."""
    if (height, width) != (480, 640):
        raise ConfigurationError(
            f"the region nyu_eigen is a box in 480 x 640 pixels, but these depth maps are "
            f"{height} x {width}; evaluate at the full size or without a region"
        )
    return slice(45, 471), slice(41, 601)


def part(length: int, start: float, stop: float) -> slice:
    return slice(int(start * length), int(stop * length))


REGIONS: dict[str, Callable[[int, int], Box]] = {
    "none": whole,
    "garg": garg,
    "eigen": eigen,
    "nyu_eigen": nyu_eigen,
}
