"""From what a source gives to what is stored: one size, one direction, one unit.

kind         what is stored
"inverse"    depth that is far = high, in [0, 1]: 1 - (d - min) / (max - min) over each map's range
"relative"   the same; (d - min) / (max - min) where the source has far = high already
"metric"     depth in meters
"normal"     unit vectors: x right, y down, z forward, in [-1, 1]
"class"      numbers of classes
"points"     values as they are, and in no other size than the source's
None         values as they are
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError, unknown

STRETCHED = ("inverse", "relative")  # over the range of each map
CHANNELS = {"inverse": 1, "relative": 1, "metric": 1, "normal": 3, "class": 1}
KINDS = (*CHANNELS, "points")
MOST_CHANNELS = 4  # of a PNG
SCALES = {"metric": 256.0, "normal": 65535 / 2, "class": 1.0}  # meters as KITTI's, to 256 of them

Size = tuple[int, int]  # height and width, pixels


@dataclass(frozen=True)
class Canonical:
    """Maps as they are stored, and what range of raw values each was made of."""

    values: Float[Tensor, "b c H W"]  # NaN where nothing is known
    low: Float[Tensor, " b"]  # the least raw value; inf where nothing is known
    high: Float[Tensor, " b"]

    @property
    def constant(self) -> Bool[Tensor, " b"]:
        """Which maps have no two values."""
        return self.high <= self.low


def described(raw: Note, max_side: int = 0) -> Note:
    """What is stored where a source's own note says what it gives.

    Raises:
        ConfigurationError: the source's note contradicts itself, or lacks what it must say.
    """
    name, kind = raw.name or "the source", raw.kind
    if kind is not None and kind not in KINDS:
        raise unknown("kind of map", kind, KINDS)
    if raw.direction not in (None, "near_high", "far_high"):
        raise unknown("direction", str(raw.direction), ("near_high", "far_high"))
    if kind == "relative" and raw.direction is None:
        raise ConfigurationError(f"{name} is relative depth; its note must say the direction")
    if kind == "metric" and raw.direction == "near_high":
        raise ConfigurationError(f"{name} cannot be meters and near_high; its kind is 'inverse'")
    if kind == "points" and max_side:
        raise ConfigurationError(f"{name} marks single pixels, which max_side would blur")
    if kind in STRETCHED:
        return replace(
            raw, scale=65535.0, low=0.0, per_image=True, direction="far_high", max_side=max_side
        )
    scale = raw.scale or SCALES.get(str(kind))
    if scale is None:
        raise ConfigurationError(f"the note of {name} must say a scale: value = stored / scale")
    low = -1.0 if kind == "normal" else raw.low
    direction = "far_high" if kind == "metric" else raw.direction
    return replace(raw, scale=scale, low=low, direction=direction, max_side=max_side)


def canonical(raw: Float[Tensor, "b c h w"], note: Note, size: Size) -> Canonical:
    """Raw maps, of which a source's `note` tells, as they are stored."""
    low, high = (end.flatten(1) for end in ends(raw))
    low, high = low.amin(1), high.amax(1)
    values = resized(raw, note, size)
    if note.kind in STRETCHED:
        direction = (low, high) if note.direction == "far_high" else (high, low)
        values = _stretched(values, *(end[:, None, None, None] for end in direction))
    return Canonical(values, low, high)


def _stretched(values: Float[Tensor, "b 1 H W"], near: Tensor, far: Tensor) -> Tensor:
    """0 at the near end, 1 at the far one; a constant map is zero all over."""
    span = far - near
    return (values - near).div_(span.where(span.isfinite() & (span != 0), 1.0))


def resized(raw: Float[Tensor, "b c h w"], note: Note, size: Size) -> Float[Tensor, "b c H W"]:
    """Raw maps in another size: nearest for classes, else bicubic within each map's own range.

    What is next to an unknown pixel (NaN) becomes unknown.
    """
    if note.kind == "class":
        raw = raw if raw.shape[-2:] == size else F.interpolate(raw, size, mode="nearest-exact")
        return raw.where(raw >= 0, torch.nan)  # a class below zero is none
    if raw.shape[-2:] != size:
        if note.kind == "points":
            raise ConfigurationError(f"{note.name} marks pixels of another size than the image's")
        low, high = ends(raw)
        shrinks = size[0] < raw.shape[-2] or size[1] < raw.shape[-1]
        raw = F.interpolate(raw, size, mode="bicubic", antialias=shrinks).clamp(low, high)
    if note.kind == "normal":
        length = raw.norm(dim=1, keepdim=True)
        return (raw / length).where(length > 0, torch.nan)
    return raw


def checked(raw: object, images: int, note: Note) -> Float[Tensor, "b c h w"]:
    """What a source gave for so many images, as floats; NaN for what is not finite.

    Raises:
        ConfigurationError: that is not a map for each.
    """
    name = note.name or "the source"
    if not isinstance(raw, Tensor):
        raise ConfigurationError(f"{name} gave {type(raw).__name__}; maps are a tensor")
    if raw.is_complex() or raw.is_quantized:
        raise ConfigurationError(f"{name} gave numbers of type {raw.dtype}; maps are floats")
    if raw.ndim != 4 or len(raw) != images or 0 in raw.shape:
        raise ConfigurationError(
            f"{name} gave {tuple(raw.shape)} for {images} images; maps are (b, c, h, w)"
        )
    channels = CHANNELS.get(str(note.kind))
    if raw.shape[1] > MOST_CHANNELS or channels not in (None, raw.shape[1]):
        taken = channels or f"1 to {MOST_CHANNELS}"
        raise ConfigurationError(
            f"{name} gave maps of {raw.shape[1]} channels; of this kind they have {taken}"
        )
    raw = raw.float()
    is_finite = all(end.isfinite().all() for end in (raw.amin(), raw.amax()))
    return raw if is_finite else raw.where(raw.isfinite(), torch.nan)


def ends(raw: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
    """The least and the greatest known value of each channel, (b, c, 1, 1)."""
    low, high = (end(dim=(2, 3), keepdim=True) for end in (raw.amin, raw.amax))
    if not low.isnan().any():  # NaN is both least and greatest
        return low, high
    unknown = raw.isnan()
    low = raw.masked_fill(unknown, torch.inf).amin(dim=(2, 3), keepdim=True)
    return low, raw.masked_fill(unknown, -torch.inf).amax(dim=(2, 3), keepdim=True)
