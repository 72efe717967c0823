"""Image files that were damaged on purpose: named, replaced, never a crash."""

import io
import struct
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np
import pytest
import torch
from PIL import Image

from faults.crashing import in_children
from packs import packed, photos
from sgmim.data.batches import Batches
from sgmim.data.decoding import read_image
from sgmim.data.images import Images
from sgmim.data.png import encode_png
from sgmim.data.shards import Shards
from sgmim.data.stored import read_map
from sgmim.errors import DataError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

FILES = 10_000
BATCH = 500
REFUSED_WITHIN = 0.010  # seconds
REFUSED_WITH = 10e6  # bytes
MAX_PIXELS = 10**6


def natural(rng, height=48, width=64):
    """Smooth colors with some noise."""
    y, x = np.mgrid[:height, :width]
    color = 100 + 50 * np.sin(x / 9)[..., None] + 40 * np.cos(y / 7)[..., None] * [1, 0.5, 0.2]
    return (color + rng.normal(0, 8, color.shape)).clip(0, 255).astype(np.uint8)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def array_file(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def whole(suffix, rng):
    """A good file."""
    pixels = natural(rng)
    image = Image.fromarray(pixels)
    deep = pixels[None, ..., 0].astype(np.uint16) * 257
    return {
        "jpg": lambda: saved(image, "JPEG", progressive=bool(rng.integers(2))),
        "png": lambda: saved(image, "PNG"),
        "16.png": lambda: encode_png(deep),
        "webp": lambda: saved(image, "WEBP", lossless=bool(rng.integers(2))),
        "tif": lambda: saved(image, "TIFF", compression=str(rng.choice(["raw", "tiff_lzw"]))),
        "bmp": lambda: saved(image, "BMP"),
        "jp2": lambda: saved(Image.fromarray(deep[0]), "JPEG2000"),
        "npy": lambda: array_file(deep),
    }[suffix]()


SUFFIXES = ("jpg", "png", "16.png", "webp", "tif", "bmp", "jp2", "npy")


def damaged(content, rng):
    """Cut, flipped, overwritten, with a piece missing or doubled; its beginning twice as often."""
    data, many = bytearray(content), len(content)
    first = min(many, 64) if rng.integers(2) else many
    match rng.integers(6):
        case 0:
            return bytes(data[: rng.integers(many)])
        case 1:
            for place in rng.integers(0, first, rng.integers(1, 20)):
                data[place] ^= 1 << int(rng.integers(8))
        case 2:
            place = int(rng.integers(first))
            data[place : place + 8] = rng.bytes(len(data[place : place + 8]))
        case 3:
            place = int(rng.integers(first))
            del data[place : place + int(rng.integers(1, 40))]
        case 4:
            place = int(rng.integers(first))
            data[place:place] = data[: int(rng.integers(1, 200))]
        case 5:
            place = int(rng.integers(first))
            data[place : place + 4] = int(rng.choice([0, 2**31 - 1, 2**32 - 1])).to_bytes(4, "big")
    return bytes(data)


def read(item):
    """Read one damaged file; what is not as promised."""
    folder, number = item
    rng = np.random.default_rng(number)
    suffix = SUFFIXES[number % len(SUFFIXES)]
    path = folder / f"{number}.{suffix}"
    path.write_bytes(damaged(whole(suffix, rng), rng))
    reader = read_map if suffix in ("16.png", "jp2", "npy") else read_image
    began = perf_counter()
    try:
        found = reader(path, max_pixels=MAX_PIXELS)
        if found.ndim != 3 or not 0 < found.shape[1] * found.shape[2] <= MAX_PIXELS:
            yield f"{path}: it became {tuple(found.shape)}"
    except DataError as error:
        if str(path) not in str(error):
            yield f"{path}: the error does not name it: {error}"
    except Exception as error:
        yield f"{path}: {type(error).__name__}: {error}"
    if perf_counter() - began > 5:
        yield f"{path}: took {perf_counter() - began:.0f} s"
    path.unlink()


def test_damaged_files_are_read_or_named(tmp_path, recorded):
    items = [(tmp_path, number) for number in range(FILES)]
    wrong = in_children(read, items, BATCH)
    print(*wrong[:20], sep="\n")
    promise = "0 crashes, 0 hangs, the path named"
    recorded("bad images", promise, FILES, FILES - len(wrong))


def test_damaged_files_are_replaced_alike_and_end_the_run_above_the_share(tmp_path, recorded):
    rng = np.random.default_rng(0)
    for number in range(200):
        suffix = ("jpg", "png", "webp", "tif", "bmp")[number % 5]
        content = whole(suffix, rng)
        content = content if number % 4 else damaged(content, rng)
        (tmp_path / f"{number}.{suffix}").write_bytes(content)
    source = Images(tmp_path, check=False)

    def seen(share):
        batches = Batches(source, size=(32, 32), batch=20, broken_share=share)
        return list(islice(batches(), 30)), batches.replaced

    (one, broken), (other, again) = seen(1.0), seen(1.0)
    assert broken == again and len(broken) > 20
    kept = sum(torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))
    with pytest.raises(DataError, match=r"\d+ of 200 samples .* broken_share=0\.05") as error:
        seen(0.05)
    kept += sum(name in str(error.value) for name in broken) >= 11
    recorded("bad images", "deterministic replacement, stops above a stated share", 31, kept)


def claims(content, place, number, order=">I"):
    data = bytearray(content)
    struct.pack_into(order, data, place, number)
    return bytes(data)


def bomb(suffix):
    """A small file whose header speaks of more than 10^8 pixels."""
    content = whole(suffix, np.random.default_rng(1))
    huge = 50_000
    if suffix in ("png", "16.png"):
        return claims(claims(content, 16, huge), 20, huge)
    if suffix == "jpg":
        frame = next(
            content.find(bytes([0xFF, m])) for m in (0xC0, 0xC2) if bytes([0xFF, m]) in content
        )
        return claims(claims(content, frame + 5, huge, ">H"), frame + 7, huge, ">H")
    if suffix == "bmp":
        return claims(claims(content, 18, huge, "<I"), 22, huge, "<I")
    if suffix == "tif":
        at = struct.unpack_from("<I", content, 4)[0] + 2
        for entry in range(at, at + 12 * struct.unpack_from("<H", content, at - 2)[0], 12):
            if struct.unpack_from("<H", content, entry)[0] in (256, 257):  # width, length
                content = claims(content, entry + 2, 4, "<H")
                content = claims(content, entry + 8, huge, "<I")
        return content
    if suffix == "jp2":
        at, siz = content.find(b"ihdr") + 4, content.find(b"\xff\x51") + 6
        for place in (at, at + 4, siz, siz + 4):
            content = claims(content, place, huge)
        return content
    if suffix == "webp":
        lossy = saved(Image.fromarray(natural(np.random.default_rng(1))), "WEBP")
        at = lossy.find(b"\x9d\x01\x2a") + 3
        return claims(claims(lossy, at, 16383, "<H"), at + 2, 16383, "<H")
    return content.replace(b"(1, 48, 64)", b"(1, 48000, 64000)").replace(b"      \n", b"\n")


def refuse(item):
    """Read a bomb three times; what is not as promised of the last, when all is loaded."""
    path, reader = item
    for _ in range(3):
        memory, began = getrusage(RUSAGE_SELF).ru_maxrss, perf_counter()
        try:
            reader(path)
            yield f"{path} was read"
        except DataError as error:
            told = str(error)
    seconds, memory = perf_counter() - began, 1024 * (getrusage(RUSAGE_SELF).ru_maxrss - memory)
    if seconds > REFUSED_WITHIN or memory > REFUSED_WITH:
        yield f"{path}: {seconds:.4f} s, {memory} bytes: {told}"


def from_shards(path):
    """Put a bomb in place of a sample, with its CRC32C, as a villain would."""
    shards = Shards(path.parent / "packed")
    shards._content = lambda index, modality: bytearray(path.read_bytes())
    shards.read(0, ["depth" if path.suffix == ".png" else "image"])


def test_bombs_are_refused_before_they_are_decoded(tmp_path, recorded):
    packed(photos(tmp_path))
    items = []
    for suffix in SUFFIXES:
        path = tmp_path / f"bomb.{suffix}"
        path.write_bytes(bomb(suffix))
        items.append((path, read_map if suffix in ("16.png", "jp2", "npy") else read_image))
        if suffix in ("jpg", "png"):
            items.append((Path(path), from_shards))
    wrong = in_children(refuse, items, 1)
    print(*wrong, sep="\n")
    recorded("bombs", "refused in under 10 ms and 10 MB", len(items), len(items) - len(wrong))
