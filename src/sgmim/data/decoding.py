"""One image file to pixels: strictly, upright, in RGB, and never more of them than asked for."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_png
from torchvision.transforms.v2.functional import pil_to_tensor

from sgmim.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MAX_PIXELS = 178_956_970  # as Pillow: 24 bit pixels of half a gigabyte

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
WITHOUT_LENGTH = frozenset(range(0xFFD0, 0xFFDA))
EXIF_ORIENTATION = 0x0112
TO_UPRIGHT = {  # by the value of that EXIF field
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {5, 6, 7, 8}  # those that swap height and width


def read_image(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> UInt8[Tensor, "3 H W"]:
    """Red, green, blue, turned as EXIF says. Grey is repeated, 16 bits become 8, and transparency
    is dropped, not blended.

    Raises DataError, which names the file, if it is missing, truncated, broken or no image, or if
    its header speaks of more than `max_pixels`; those are refused before anything is decoded.
    """
    with opened(path, max_pixels) as image:
        if _is_plain(image):
            # the same library and pixels as Pillow's, in three quarters the time; only where both
            # see the same size, of which Pillow's was checked
            data = content(image)
            with suppress(DataError):
                if _jpeg_size(bytearray(data.numpy())) == (image.height, image.width):
                    return decode_jpeg(data, ImageReadMode.RGB)
        upright, orientation = _rgb(image, path), _orientation(image)
        if orientation in TO_UPRIGHT:
            upright = upright.transpose(TO_UPRIGHT[orientation])
        return pil_to_tensor(upright)


def plain_jpeg(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> bytes | None:
    """The file as it is, if it is an upright JPEG in RGB that `decode` reads; else None."""
    with opened(path, max_pixels) as image:
        if not _is_plain(image):
            return None
        file = content(image).numpy()
    with suppress(DataError):
        decode(bytearray(file), max_pixels)
        return file.tobytes()
    return None


def image_size(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header."""
    with opened(path, max_pixels) as image:
        sideways = _orientation(image) in SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def decode(
    content: bytearray, max_pixels: int = MAX_PIXELS, mode: ImageReadMode = ImageReadMode.UNCHANGED
) -> Tensor:
    """The pixels (c, H, W) of a JPEG or PNG in memory, as stored: not turned, 16 bits as 16.

    Pillow is not asked, which would take another tenth of the time of a small image. Raises
    DataError for another format and for more than `max_pixels`; what decoders raise for what is
    broken. Who calls knows the name.
    """
    is_png = content.startswith(PNG)
    height, width = struct.unpack_from(">II", content, 16)[::-1] if is_png else _jpeg_size(content)
    check_pixels("it", height, width, max_pixels)
    read = decode_png if is_png else decode_jpeg
    return read(torch.frombuffer(content, dtype=torch.uint8), mode)


def _jpeg_size(content: bytearray) -> tuple[int, int]:
    """Height and width from the frame header (ITU T.81, B.2.2), over the segments before it.

    Stricter than decoders are, so that they find no other header: nothing lies between segments.
    """
    place = 2 if content.startswith(JPEG) else len(content)
    while place + 9 <= len(content):
        marker, length, _, height, width = struct.unpack_from(">HHBHH", content, place)
        if marker in FRAMES:
            return height, width
        if not 0xFFC4 <= marker <= 0xFFFE or marker in WITHOUT_LENGTH or length < 2:
            break
        place += 2 + length
    raise DataError("it is neither JPEG nor PNG, or its header is broken")


def kind(path: str | PathLike, max_pixels: int = MAX_PIXELS) -> tuple[str, str]:
    """Format and mode, as Pillow calls them."""
    with opened(path, max_pixels) as image:
        return image.format or "", image.mode


@contextmanager
def opened(path: str | PathLike, max_pixels: int) -> Iterator[ImageFile]:
    """An image of which only the header is read yet; whatever goes wrong with it is a DataError."""
    with named(path), open(path, "rb") as file, Image.open(file) as image:
        check_pixels(path, image.height, image.width, max_pixels)
        yield image


def content(image: ImageFile) -> UInt8[Tensor, " bytes"]:
    """The file of an opened image as it is, for another decoder than Pillow's."""
    assert image.fp is not None, "only a closed image has no file"
    image.fp.seek(0)
    return torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8)


@contextmanager
def named(path: str | PathLike) -> Iterator[None]:
    """Turn any exception into a DataError with the file's name: decoders raise all kinds."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}") from error


def check_pixels(path: str | PathLike, height: int, width: int, most: int) -> None:
    if height * width > most:
        raise DataError(
            f"{path} says it is {height} x {width} pixels, more than max_pixels={most} allows"
        )


def _is_plain(image: ImageFile) -> bool:
    return image.format == "JPEG" and image.mode == "RGB" and _orientation(image) not in TO_UPRIGHT


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these, and only these, by itself
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # photos with broken EXIF data are common, and otherwise fine
        return 1


def _rgb(image: Image.Image, path: str | PathLike) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"{path} has 32-bit pixels of no known range; store 8 or 16 bits")
    if "transparency" in image.info:  # a palette's or a single color's
        image = image.convert("RGBA")
    return image.convert("RGB")
