"""How a model built for one size sees an image of any other: whole, in shifted or sliding windows.

At the size and in the windows it was trained in, a transformer sees what it has learnt to see: the
same grid of tokens, the same positions. So the published scores on wide images are made window by
window, and a score has to say how.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.geometry import Interpolation, center_crop
from sgmim.errors import ConfigurationError

Size = tuple[int, int]  # pixels, down and across
Box = tuple[slice, slice]  # rows, columns
Predict = Callable[[Tensor], Tensor]  # image (b, 3, h, w) -> (b, c, h, w)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How images are shown to a model, and what it says is put together.

    Args:
        mode: "whole": resized to the model's size, what it says resized back. "shift": in windows
            as high as the image, moved along its width (MIM-Depth-Estimation). "slide": in windows
            of the model's size, moved along both sides (as ADE20K is scored with). "center": a
            crop from the middle, its shape kept; of what says one thing of an image, as a class.
        windows: of mode shift: how many, evenly spread.
        compat: of mode shift: the published offsets, a whole number of pixels apart, which may not
            reach the right end; no prediction (NaN) where no window comes.
        stride: of mode slide: pixels from window to window; 0 is two thirds of a window.
        short: of mode slide: pixels that an image's shorter side is resized to first; 0 leaves an
            image as it is, unless it is smaller than a window.
        center: of mode center: the share of the shorter side that the crop takes; 0.875 is a crop
            of 224 from what was resized to 256.
        interpolation: of mode center.
        flip: predict the mean of what is said of a window and of its mirror image: of depths, or of
            the logits of classes.
        at_once: windows and mirror images that the model is shown at once.

    Raises:
        ConfigurationError: numbers that make no windows.
    """

    mode: Literal["whole", "shift", "slide", "center"] = "whole"
    windows: int = 16
    compat: bool = False
    stride: int = 0
    short: int = 0
    center: float = 0.875
    interpolation: Interpolation = "bilinear"
    flip: bool = False
    at_once: int = 32

    def __post_init__(self):
        least = {"windows": 2 if self.compat else 1, "stride": 0, "short": 0, "at_once": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigurationError(
                    f"inference.{name} is {bound} or more, not {getattr(self, name)}"
                )
        if not 0 < self.center <= 1:
            raise ConfigurationError(
                f"inference.center is a share above 0, up to 1, not {self.center}"
            )
        if self.compat and self.mode != "shift":
            raise ConfigurationError(
                f"inference.compat is of mode shift, and the mode is {self.mode}: leave it out"
            )

    def __call__(
        self, predict: Predict, image: Float[Tensor, "b c H W"], size: Size
    ) -> Float[Tensor, "b _ H W"]:
        """What a model for `size` says of images of any size, at their own size.

        Raises:
            ConfigurationError: the windows would not cover the image, or not fit each other.
        """
        if self.mode == "center":
            raise ConfigurationError(
                "inference.mode center is for what says one thing of an image, and this model says "
                "something of every pixel: take whole, shift or slide"
            )
        own = (image.shape[-2], image.shape[-1])
        shown = self._shown(image, size)
        boxes = self.boxes((shown.shape[-2], shown.shape[-1]), size)
        together = max(1, self.at_once // (len(boxes) * self._views))
        said = [self._put_together(predict, few, boxes, size) for few in shown.split(together)]
        return resized(torch.cat(said), own, antialias=False)

    def of_all(self, predict: Predict, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b k"]:
        """What a model says of images as a whole, which are as `fitted` has made them."""
        if not self.flip:
            return predict(image).float()
        straight, mirrored = predict(torch.cat([image, image.flip(-1)])).float().chunk(2)
        return (straight + mirrored) / 2

    def fitted(self, image: Float[Tensor, "b c H W"], size: Size) -> Float[Tensor, "b c h w"]:
        """Images, colors in [0, 1], as a model that says something of the whole is shown them."""
        height, width = image.shape[-2:]
        if (share := self.share) is not None:
            top, left, h, w, *_ = center_crop(height, width, size[1] / size[0], share)
            image = image[..., top : top + h, left : left + w]
        mode = self.interpolation if share is not None else "bilinear"
        return F.interpolate(image, size, mode=mode, antialias=True).clamp(0, 1)

    @property
    def share(self) -> float | None:
        """Of an image's shorter side, that is shown of it as a whole; None is all of both sides.

        Raises:
            ConfigurationError: the mode is of windows.
        """
        if self.mode not in ("whole", "center"):
            raise ConfigurationError(
                f"inference.mode {self.mode} puts together what is said of windows, and this model "
                "says one thing of an image: take center or whole"
            )
        return self.center if self.mode == "center" else None

    def boxes(self, shown: Size, size: Size) -> list[Box]:
        """The windows of an image of the size `shown`, for a model of another."""
        height, width = shown
        match self.mode:
            case "whole":
                return [(slice(0, height), slice(0, width))]
            case "shift":
                across = min(round(height * size[1] / size[0]), width)
                return [
                    (slice(0, height), slice(left, left + across))
                    for left in self._offsets(width, across)
                ]
        rows, columns = (
            _grid(length, window, self.stride) for length, window in zip(shown, size, strict=True)
        )
        return [(down, across) for down in rows for across in columns]

    def protocol(self) -> dict[str, Any]:
        """What a score depends on, to be told with it."""
        of_mode = {
            "whole": (),
            "shift": ("windows", "compat"),
            "slide": ("stride", "short"),
            "center": ("center", "interpolation"),
        }
        return {name: getattr(self, name) for name in ("mode", *of_mode[self.mode], "flip")}

    @property
    def _views(self) -> int:
        """How many times a model is shown a window."""
        return 2 if self.flip else 1

    def _shown(self, image: Tensor, size: Size) -> Tensor:
        """An image as the windows are laid on it."""
        if self.mode != "slide":
            return image
        height, width = image.shape[-2:]
        factor = self.short / min(height, width) if self.short else 1.0
        factor = max(factor, size[0] / height, size[1] / width)
        return resized(image, (int(height * factor + 0.5), int(width * factor + 0.5)))

    def _offsets(self, width: int, across: int) -> list[int]:
        if self.compat:
            interval = (width - across) // (self.windows - 1)
            return [interval * number for number in range(self.windows)]
        if self.windows * across < width:
            raise ConfigurationError(
                f"{self.windows} windows of {across} pixels do not cover an image {width} pixels "
                f"wide: inference.windows is to be {ceil(width / across)} or more"
            )
        if width == across:
            return [0]
        return torch.linspace(0, width - across, self.windows).round().int().tolist()

    def _put_together(
        self, predict: Predict, image: Tensor, boxes: list[Box], size: Size
    ) -> Float[Tensor, "b _ H W"]:
        """The mean, at every pixel, of what is said of the windows that it lies in."""
        covered = image.new_zeros(1, 1, *image.shape[-2:])
        total: Tensor | float = 0.0
        said = self._said(predict, image, boxes, size)
        for (rows, columns), window in zip(boxes, said, strict=True):
            if isinstance(total, float):
                total = window.new_zeros(*window.shape[:2], *image.shape[-2:])
            covered[..., rows, columns] += 1
            own = (rows.stop - rows.start, columns.stop - columns.start)
            total[..., rows, columns] += resized(window, own, antialias=False)
        return total / covered

    def _said(
        self, predict: Predict, image: Tensor, boxes: list[Box], size: Size
    ) -> Iterator[Float[Tensor, "b _ h w"]]:
        """What a model says of each window, for all images."""
        windows = max(1, self.at_once // (len(image) * self._views))
        for first in range(0, len(boxes), windows):
            few = boxes[first : first + windows]
            crops = torch.cat([resized(image[..., rows, columns], size) for rows, columns in few])
            said = predict(torch.cat([crops, crops.flip(-1)]) if self.flip else crops).float()
            if self.flip:
                straight, mirrored = said.chunk(2)
                said = (straight + mirrored.flip(-1)) / 2
            yield from said.chunk(len(few))


def resized(image: Float[Tensor, "b c _ _"], size: Size, antialias: bool = True) -> Tensor:
    """Images, or what a model says, at another size."""
    if image.shape[2:] == size:
        return image
    return F.interpolate(image, size, mode="bilinear", antialias=antialias)


def _grid(length: int, window: int, stride: int) -> list[slice]:
    """Windows along a side, the last of which ends with it, as in mmsegmentation."""
    stride = stride or 2 * window // 3
    if stride > window:
        raise ConfigurationError(
            f"inference.stride {stride} leaves gaps between windows of {window} pixels; "
            f"give {window} or less"
        )
    count = max(length - window + stride - 1, 0) // stride + 1
    ends = [min(stride * number + window, length) for number in range(count)]
    return [slice(max(end - window, 0), end) for end in ends]
