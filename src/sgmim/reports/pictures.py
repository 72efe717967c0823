"""A sheet of pictures to look at: a row for every sample, a column for every kind of picture."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import ceil, isnan, nan

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sgmim.errors import DataError
from sgmim.objective import Pictures

COLORS = "viridis"  # one of matplotlib's; perceptually uniform
HOLE = (188, 188, 188)  # where nothing is known
PAPER, INK, FAINT_INK = (255, 255, 255), (30, 30, 30), (95, 95, 95)
GAP, LINE, SCALE = 10, 18, 18  # pixels: between tiles, of a line of a title, of a color scale

Range = tuple[float, float]  # the values at the two ends of the colors; NaN if a map has none


def sheet(
    pictures: Pictures,
    *,
    shared: Sequence[Sequence[str]] | None = None,
    ranges: Mapping[str, Range] | None = None,
    tile: int = 128,
) -> Image.Image:
    """All the pictures on one, each below its name.

    Pictures of three channels are colors in [0, 1]. Those of one are maps, each above the scale of
    its colors. NaN is left grey. Within a row, maps that belong together have the same scale: those
    that `shared` lists together; by default those whose names end in the same word, but for what
    follows a comma: "depth", "predicted depth", "depth, shown". For those in `ranges` it is told.
    Pictures are enlarged without blur, to at least `tile` pixels a side.

    Raises:
        DataError: a picture has neither one channel nor three.
    """
    check(pictures)
    rows, size = len(next(iter(pictures.values()))), tile_size(pictures, tile)
    titles = [wrapped(name, size[0]) for name in pictures]
    top = GAP + LINE * max(len(title) for title in titles)
    across, down = size[0] + GAP, size[1] + SCALE + GAP
    paper = Image.new("RGB", (GAP + across * len(pictures), top + down * rows), PAPER)
    for column, title in enumerate(titles):
        write_title(paper, title, (GAP + across * column, top))
    for row in range(rows):
        sample = {name: picture[row].detach().float().cpu() for name, picture in pictures.items()}
        ends = value_ranges(sample, shared) | dict(ranges or {})
        for column, (name, picture) in enumerate(sample.items()):
            corner = GAP + across * column, top + down * row
            draw_tile(paper, picture, corner, size, ends.get(name))
    return paper


def check(pictures: Pictures) -> None:
    for name, picture in pictures.items():
        if picture.shape[1] not in (1, 3):
            raise DataError(f"{name!r} has {picture.shape[1]} channels; a picture has 1 or 3")


def colorize(
    values: Float[Tensor, "H W"], low: float, high: float, colors: str = COLORS
) -> UInt8[np.ndarray, "H W 3"]:
    """Colors for the values of a map from `low` to `high`, grey where there is none."""
    values = values.detach().float().cpu()
    share = (values - low) / ((high - low) or 1)
    places = (255 * share.nan_to_num(0).clamp(0, 1)).round().byte().numpy()
    table = matplotlib.colormaps[colors](np.arange(256), bytes=True)[:, :3]
    return with_holes(table[places], values.isfinite())


def painted(image: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The colors of an image, grey where it has holes."""
    colors = (255 * image.nan_to_num(0).clamp(0, 1)).round().byte().permute(1, 2, 0)
    return with_holes(colors.numpy(), image.isfinite().all(dim=0))


def with_holes(colors: UInt8[np.ndarray, "H W 3"], known: Tensor) -> UInt8[np.ndarray, "H W 3"]:
    return np.where(known.numpy()[..., None], colors, np.array(HOLE, np.uint8))


def value_ranges(
    sample: dict[str, Tensor], shared: Sequence[Sequence[str]] | None = None
) -> dict[str, Range]:
    """For every map of a sample the least and the greatest value of all it belongs with."""
    maps = {name: picture for name, picture in sample.items() if len(picture) == 1}
    ranges = {}
    for name in maps:
        group = [maps[other] for other in companions(name, maps, shared) if other in maps]
        known = torch.cat([values[values.isfinite()] for values in group])
        ranges[name] = (known.min().item(), known.max().item()) if len(known) else (nan, nan)
    return ranges


def companions(
    name: str, names: Iterable[str], shared: Sequence[Sequence[str]] | None
) -> Iterable[str]:
    if shared is None:
        return [other for other in names if _subject(other) == _subject(name)]
    return next((group for group in shared if name in group), [name])


def _subject(name: str) -> list[str]:
    return name.partition(",")[0].split()[-1:]


def tile_size(pictures: Pictures, tile: int) -> tuple[int, int]:
    """The width and height of the largest picture, times a whole number to make it large enough."""
    width, height = (max(picture.shape[axis] for picture in pictures.values()) for axis in (3, 2))
    times = max(1, ceil(tile / min(width, height)))
    return times * width, times * height


def wrapped(title: str, width: int) -> list[str]:
    """The title in lines of at most `width` pixels, or of a single word."""
    lines: list[str] = []
    for word in title.split():
        if lines and font(14).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def write_title(paper: Image.Image, lines: list[str], corner: tuple[int, int]) -> None:
    """Write lines upwards from a corner, so that titles of any length end at their tile."""
    x, y = corner
    for place, line in enumerate(reversed(lines)):
        ImageDraw.Draw(paper).text((x, y - 5 - LINE * place), line, INK, font(14), anchor="ls")


def draw_tile(
    paper: Image.Image,
    picture: Float[Tensor, "c h w"],
    corner: tuple[int, int],
    size: tuple[int, int],
    ends: Range | None,
) -> None:
    """An image, or a map and the scale of its colors where it has `ends`."""
    colors = colorize(picture[0], *ends) if ends else painted(picture)
    paper.paste(Image.fromarray(colors).resize(size, Image.Resampling.NEAREST), corner)
    if ends and not isnan(ends[0]):
        draw_scale(paper, (corner[0], corner[1] + size[1]), size[0], ends)


def draw_scale(paper: Image.Image, corner: tuple[int, int], width: int, ends: Range) -> None:
    """The least value, the colors, the greatest value."""
    (x, y), draw = corner, ImageDraw.Draw(paper)
    low, high = (f"{end:.3g}" for end in ends)
    draw.text((x, y + 9), low, FAINT_INK, font(10), anchor="lm")
    draw.text((x + width, y + 9), high, FAINT_INK, font(10), anchor="rm")
    left, right = (ceil(font(10).getlength(text)) + 6 for text in (low, high))
    ramp = torch.linspace(0, 1, max(1, width - left - right)).expand(6, -1)
    paper.paste(Image.fromarray(colorize(ramp, 0.0, 1.0)), (x + left, y + 7))


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
