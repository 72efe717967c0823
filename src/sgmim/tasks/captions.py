"""What is said of an image in words, as a picture beside it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

RIGHT, WRONG, INK = (222, 240, 224), (250, 224, 220), (30, 30, 30)
SMALLEST = 128  # pixels a side of a picture on which words can be read


def captions(
    label: Int[Tensor, " b"],
    said: Int[Tensor, " b"],
    likely: Float[Tensor, " b"],
    names: Sequence[str],
    size: tuple[int, int],
) -> Float[Tensor, "b 3 h w"]:
    """The true class and the one that is said, with its probability: on green where they agree, on
    red where not.

    Args:
        label: the true classes.
        said: the classes that are said.
        likely: and how likely these are said to be.
        names: of the classes, by number; numbers are written where there are none.
        size: pixels, down and across, of the image; times a whole number, so that words fit.
    """
    times = max(1, -(-SMALLEST // min(size)))
    height, width = (times * side for side in size)
    rows = zip(label.tolist(), said.tolist(), likely.tolist(), strict=True)
    drawn = [_caption(truth, found, share, names, width, height) for truth, found, share in rows]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) / 255


def _caption(
    truth: int, found: int, share: float, names: Sequence[str], width: int, height: int
) -> np.ndarray:
    paper = Image.new("RGB", (width, height), RIGHT if truth == found else WRONG)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(14)
    one, other = (names[number] if names else f"class {number}" for number in (truth, found))
    lines = [f"is {one}", f"said {other}", f"at {share:.0%}"]
    for place, line in enumerate(lines):
        draw.text((8, height // 2 + 22 * (place - 1)), line, INK, font, anchor="lm")
    return np.asarray(paper)
