import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.decoding import TO_UPRIGHT, image_size, read_image
from sgmim.errors import DataError


def picture(height=40, width=60):
    """Smooth, so that lossy formats keep it, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    grey = y * 150 / height + x * 50 / width
    return np.stack([grey + 20, grey, grey + 10], -1).astype(np.uint8)


def test_red_is_the_first_channel(tmp_path):
    Image.new("RGB", (32, 24), (255, 0, 0)).save(tmp_path / "red.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "red.jpg")
    assert red.min() > 250 and green.max() < 5 and blue.max() < 5


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_every_kind_of_image_becomes_8_bit_rgb(tmp_path, mode, suffix):
    image = Image.fromarray(picture())
    if mode == "I;16":
        if suffix not in (".png", ".tif"):
            pytest.skip(f"there are no 16 bits in {suffix}")
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    path = tmp_path / f"image{suffix}"
    try:
        image.save(path)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"there is no {mode} in {suffix}")
    ours = read_image(path)
    assert ours.dtype == torch.uint8 and ours.shape == (3, 40, 60)
    if mode not in ("1", "P"):
        colored = mode in ("RGB", "RGBA", "CMYK")
        assert_like(ours, picture() if colored else picture() @ [[0.299], [0.587], [0.114]])


def assert_like(ours, theirs):
    assert np.abs(ours.permute(1, 2, 0).numpy() - theirs.astype(float)).mean() < 3


def test_16_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0].tolist() == [[0, 0, 1, 128, 255]]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_has_the_pixels_that_pillow_sees(tmp_path, subsampling):
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", subsampling=subsampling)
    theirs = torch.from_numpy(np.array(Image.open(tmp_path / "a.jpg"))).permute(2, 0, 1)
    assert torch.equal(read_image(tmp_path / "a.jpg"), theirs)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, *TO_UPRIGHT])
def test_a_photo_is_turned_as_exif_says(tmp_path, suffix, orientation):
    upright = Image.fromarray(picture())
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = inverse.get(orientation, TO_UPRIGHT.get(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    (upright.transpose(turn) if turn is not None else upright).save(path, exif=exif)
    ours = read_image(path)
    assert image_size(path) == tuple(ours.shape[-2:]) == (40, 60)
    assert_like(ours, picture())


def test_a_photo_with_broken_exif_is_read_all_the_same(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    assert read_image(tmp_path / "a.jpg").shape == (3, 40, 60)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, kept):
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, Image.registered_extensions()[suffix])
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.getvalue()[: int(kept * whole.tell())])
    with pytest.raises(DataError, match=f"cut{suffix}"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"a\.jpg"):
            read(tmp_path / "a.jpg")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*a\.jpg"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"bomb.png says it is 12000 x 12000 .*max_pixels=1000000"):
        read_image(tmp_path / "bomb.png", max_pixels=10**6)
    with pytest.raises(DataError, match="cannot be read"):  # allowed, but there is nothing in it
        read_image(tmp_path / "bomb.png")


def test_32_bits_are_refused_rather_than_guessed_at(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif.*no known range"):
        read_image(tmp_path / "a.tif")
