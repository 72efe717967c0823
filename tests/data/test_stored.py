import json

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data import png
from sgmim.data.png import encode_png, is_whole
from sgmim.data.stored import NOTE, Note, map_size, read_map, read_note, read_range
from sgmim.errors import ConfigurationError, DataError

RAMP = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 109


def test_16_bits_are_divided_by_65536_unless_told(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    assert torch.equal(read_map(tmp_path / "a.png")[0], torch.from_numpy(RAMP / 2**16).float())
    metres = read_map(tmp_path / "a.png", scale=256.0)
    torch.testing.assert_close(metres[0], torch.from_numpy(RAMP / 256).float())


@pytest.mark.parametrize("suffix", [".jpx", ".jp2"])
def test_jpeg_2000_is_read_exactly(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / "a.jp2")  # lossless
    (tmp_path / "a.jp2").rename(tmp_path / f"a{suffix}")
    assert torch.equal(
        read_map(tmp_path / f"a{suffix}", scale=1.0)[0].int(), torch.tensor(RAMP).int()
    )


def test_8_bits_are_divided_by_255(tmp_path):
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "a.png")
    torch.testing.assert_close(read_map(tmp_path / "a.png"), torch.tensor([[[0, 0.2, 1]]]))


@pytest.mark.parametrize("shape", [(20, 30), (1, 20, 30), (3, 20, 30)])
@pytest.mark.parametrize("kind", [np.float64, np.float16, ">f4", np.int64, bool])
def test_an_array_is_taken_as_it_is(tmp_path, shape, kind):
    array = np.random.default_rng(0).normal(size=shape).astype(kind)
    np.save(tmp_path / "a.npy", array)
    ours = read_map(tmp_path / "a.npy")
    assert torch.equal(ours, torch.from_numpy(array.astype(np.float32)).reshape(-1, 20, 30))


def test_a_palette_gives_its_indices(tmp_path):
    classes = Image.fromarray(np.array([[0, 1, 7]], np.uint8)).convert("P")
    classes.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    classes.save(tmp_path / "a.png")
    assert read_map(tmp_path / "a.png", scale=1.0).tolist() == [[[0, 1, 7]]]


def test_holes_are_unknown_and_nothing_else_is(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    ours = read_map(tmp_path / "a.png", scale=256.0, low=-1.0, hole=109.0)
    assert ours.isnan().nonzero().tolist() == [[0, 0, 1]]
    assert ours[0, 0, 0] == -1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_ours_gives_back_its_numbers(tmp_path, channels):
    numbers = np.random.default_rng(0).integers(0, 65536, (channels, 17, 23), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(encode_png(numbers))
    assert torch.equal(read_map(tmp_path / "a.png", scale=1.0).int(), torch.tensor(numbers).int())
    assert map_size(tmp_path / "a.png") == (17, 23)


def test_pillow_reads_a_png_of_ours(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(RAMP[None]))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), RAMP)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_a_broken_map_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, RAMP)
    else:
        path.write_bytes(encode_png(RAMP[None]))
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(DataError, match=f"a{suffix} cannot be read"):
        read_map(path)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_map(tmp_path / "a.npy")


def test_a_map_over_the_limit_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", RAMP)
    (tmp_path / "a.png").write_bytes(encode_png(RAMP[None]))
    for name in ("a.npy", "a.png"):
        with pytest.raises(DataError, match="20 x 30 pixels, more than max_pixels=599"):
            read_map(tmp_path / name, max_pixels=599)


def test_a_note_may_say_as_little_as_the_scale(tmp_path):
    (tmp_path / NOTE).write_text('{"scale": 256, "hole": 0, "remark": "by hand"}')
    note = read_note(tmp_path)
    assert (note.scale, note.hole, note.low, note.name) == (256, 0, 0, "")


@pytest.mark.parametrize("scale", [0, -1, "many", float("nan"), float("inf")])
def test_a_note_with_an_impossible_scale_is_named(tmp_path, scale):
    (tmp_path / NOTE).write_text(json.dumps({"scale": scale}))
    with pytest.raises(DataError, match=NOTE):
        read_note(tmp_path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '"scale"'])
def test_a_broken_note_is_named(tmp_path, text):
    (tmp_path / NOTE).write_text(text)
    with pytest.raises(DataError, match=NOTE):
        read_note(tmp_path)


def test_a_map_keeps_the_range_it_was_stretched_over(tmp_path):
    low, high = 0.113, 7.25
    (tmp_path / "a.png").write_bytes(encode_png(RAMP[None], {"range": f"{low:.9g} {high:.9g}"}))
    assert read_range(tmp_path / "a.png") == (low, high)
    assert torch.equal(read_map(tmp_path / "a.png", scale=1.0)[0].int(), torch.tensor(RAMP).int())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), RAMP)
    (tmp_path / "b.png").write_bytes(encode_png(RAMP[None]))
    assert read_range(tmp_path / "b.png") is None
    (tmp_path / "c.png").write_bytes(encode_png(RAMP[None], {"range": "wide"}))
    with pytest.raises(DataError, match=r"c\.png"):
        read_range(tmp_path / "c.png")


@pytest.mark.parametrize("library", [png.isal_zlib, None])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_holds_its_numbers_whatever_deflates_it(tmp_path, monkeypatch, library, channels):
    monkeypatch.setattr(png, "isal_zlib", library)
    numbers = np.random.default_rng(0).integers(0, 65536, (channels, 17, 23), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(encode_png(numbers))
    read = read_map(tmp_path / "a.png", scale=1.0)
    assert torch.equal(read, torch.from_numpy(numbers.astype(np.float32)))


def test_a_map_that_was_cut_short_is_not_whole(tmp_path):
    whole = encode_png(RAMP[None])
    (tmp_path / "a.png").write_bytes(whole)
    assert is_whole(tmp_path / "a.png") and not is_whole(tmp_path / "none.png")
    for length in (0, 5, 100, len(whole) - 1):
        (tmp_path / "a.png").write_bytes(whole[:length])
        assert not is_whole(tmp_path / "a.png")


@pytest.mark.parametrize("scale", [65535.0, 65536.0, 65535 / 2])
def test_8_bits_are_refused_where_16_were_said(tmp_path, scale):
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png has 8 bits, .* 16-bit numbers"):
        read_map(tmp_path / "a.png", scale=scale)
    assert read_map(tmp_path / "a.png", scale=255.0).max() == 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_of_eight_bits_and_of_sixteen_come_back(tmp_path, kind, channels):
    numbers = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (channels, 9, 13), kind)
    (tmp_path / "map.png").write_bytes(encode_png(numbers))
    ours = read_map(tmp_path / "map.png", scale=1.0).numpy()
    assert np.array_equal(ours, numbers)
    with Image.open(tmp_path / "map.png") as picture:
        assert channels == 3 or picture.mode == {np.uint8: "L", np.uint16: "I;16"}[kind]


def test_maps_of_other_bits_are_refused():
    with pytest.raises(ConfigurationError, match="8 or 16 bits, not 12"):
        Note(bits=12)
