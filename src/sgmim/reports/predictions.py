"""What a model says of an image, as pictures: in colors, laid over the image, beside it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from sgmim.data.geometry import Crop, cut
from sgmim.palette import class_colors, palette
from sgmim.reports.pictures import (
    GAP,
    INK,
    PAPER,
    SCALE,
    Range,
    colorize,
    font,
    painted,
    sheet,
)

OVERLAY = 0.5  # share of the prediction's colors in an overlay
TILE = 640  # pixels, of the longer side of a picture on a sheet
BOX, ROW = 14, 22  # pixels: a color of a legend, a row of it
USUAL = (0.02, 0.98)  # shares of an image that are not as far as the ends of its colors
LEAST = 0.001  # share of an image from which on a class is in its legend


class Drawing:
    """A prediction (1, H, W) and the image (3, H, W), colors in [0, 1], that it is of."""

    def __init__(self, image: Float[Tensor, "3 H W"], said: Float[Tensor, "1 H W"]):
        self.image, self.said = image, said

    def colors(self) -> Image.Image:
        """The prediction alone, as large as the image."""
        raise NotImplementedError

    def sheet(self) -> Image.Image:
        """Image and prediction side by side, large ones made smaller."""
        raise NotImplementedError

    def overlay(self) -> Image.Image:
        """The prediction over the image in grey, in which shapes are still to be seen."""
        grey = Image.fromarray(painted(self.image)).convert("L").convert("RGB")
        return Image.blend(grey, self.colors(), OVERLAY)

    def fitted(self, name: str, value: Float[Tensor, "c H W"]) -> Float[Tensor, "1 c h w"]:
        """A map of some kind as it is shown on a sheet."""
        height, width = value.shape[-2:]
        factor = min(1.0, TILE / max(height, width))
        size = max(1, round(height * factor)), max(1, round(width * factor))
        return cut({name: value}, Crop(0, 0, height, width), size)[name][None]


class DepthDrawing(Drawing):
    """Depth in meters; colors go from one of `ends` to the other. By default that is all of the
    image but its nearest and its farthest pixels, which may be few and far from the others."""

    def __init__(
        self,
        image: Float[Tensor, "3 H W"],
        said: Float[Tensor, "1 H W"],
        ends: tuple[float, float] | None = None,
    ):
        super().__init__(image, said)
        self.ends: Range = ends or usual(said)

    def colors(self) -> Image.Image:
        return Image.fromarray(colorize(self.said[0], *self.ends))

    def sheet(self) -> Image.Image:
        depth = "depth, meters"
        shown = {"image": self.fitted("image", self.image), depth: self.fitted("depth", self.said)}
        return sheet(shown, ranges={depth: self.ends})


def usual(values: Float[Tensor, "1 H W"]) -> Range:
    """Between which numbers nearly all lie; NaN where there are none."""
    step = 1 + max(values.shape) // 512  # a part of a large map tells as much
    some = values[:, ::step, ::step].flatten()
    some = some.where(some.isfinite(), torch.nan)
    low, high = some.nanquantile(torch.tensor(USUAL)).tolist()
    return low, high


class ClassDrawing(Drawing):
    """Numbers of classes, and their `names`, as far as these are known."""

    def __init__(
        self,
        image: Float[Tensor, "3 H W"],
        said: Float[Tensor, "1 H W"],
        names: Sequence[str] = (),
    ):
        super().__init__(image, said)
        self.names = names

    def colors(self) -> Image.Image:
        return Image.fromarray(painted(class_colors(self.said[None])[0]))

    def sheet(self) -> Image.Image:
        said = class_colors(self.fitted("classes", self.said))
        pictures = sheet({"image": self.fitted("image", self.image), "classes": said})
        return with_legend(pictures, self.present())

    def present(self) -> list[tuple[int, str]]:
        """The classes in it, the largest first, and what the legend says of each."""
        known = self.said[self.said.isfinite()].long()
        shares = torch.bincount(known).float() / max(1, len(known))
        found = [k for k in shares.argsort(descending=True).tolist() if shares[k] >= LEAST]
        return [(k, f"{self.name(k)}  {100 * shares[k]:.1f}%") for k in found]

    def name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else f"class {number}"


def with_legend(pictures: Image.Image, entries: Sequence[tuple[int, str]]) -> Image.Image:
    """A sheet with the colors and names of classes below it."""
    places, x, y = [], GAP, 0
    for number, text in entries:
        wide = round(BOX + 6 + font(13).getlength(text) + 18)
        if x > GAP and x + wide > pictures.width:
            x, y = GAP, y + ROW
        places.append((x, y, number, text))
        x += wide
    top = pictures.height - SCALE  # pictures in colors have no scale
    paper = Image.new("RGB", (pictures.width, top + y + ROW + GAP), PAPER)
    paper.paste(pictures)
    draw, colors = ImageDraw.Draw(paper), (255 * palette()).round().int().tolist()
    for x, y, number, text in places:
        y += top
        draw.rectangle((x, y, x + BOX, y + BOX), tuple(colors[number % len(colors)]))
        draw.text((x + BOX + 6, y + BOX / 2), text, INK, font(13), anchor="lm")
    return paper
