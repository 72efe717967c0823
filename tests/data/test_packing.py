import json
import os
import re
import resource
import time
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from PIL import Image

from packs import COUNT, contents, packed, photos
from sgmim.data.checking import check
from sgmim.data.images import Images
from sgmim.data.png import encode_png
from sgmim.data.shards import Shards
from sgmim.data.stored import read_note
from sgmim.data.writing import key, smaller
from sgmim.errors import ConfigurationError, DataError


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path)


def faults(out):
    return [fault for checked in check(out, workers=0) for fault in checked.faults]


def test_any_number_of_processes_write_the_same_bytes(folder):
    assert contents(packed(folder)) == contents(packed(folder, "other", workers=2))


def test_what_is_small_upright_and_rgb_is_kept_byte_for_byte(folder):
    grey = folder / "photos" / "2.jpg"
    Image.open(grey).convert("L").save(grey)
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.open(folder / "photos" / "4.jpg").save(folder / "photos" / "4.jpg", exif=turned)
    tar = (packed(folder) / "image" / "00000.tar").read_bytes()
    tar += (folder / "packed" / "image" / "00001.tar").read_bytes()
    tar += (folder / "packed" / "image" / "00002.tar").read_bytes()
    kept = {path.name: path.read_bytes() in tar for path in (folder / "photos").rglob("*.jpg")}
    assert [name for name, is_kept in sorted(kept.items()) if not is_kept] == ["2.jpg", "4.jpg"]
    ours, theirs = Shards(folder / "packed"), Images(folder / "photos")
    for index in range(COUNT):
        difference = ours.read(index)["image"].float() - theirs.read(index)["image"].float()
        assert difference.abs().mean() < (20 if theirs.names[index] in ("2.jpg", "4.jpg") else 0.1)


def test_large_images_and_their_maps_are_made_smaller_alike(tmp_path):
    photos(tmp_path, 2, 60, 120)
    shards = Shards(packed(tmp_path, short_side=32))
    sizes = [{name: tuple(v.shape) for name, v in shards.read(i).items()} for i in range(2)]
    assert sizes[0] == {"image": (3, 32, 64), "depth": (1, 32, 64)}
    assert sizes[1] == {"image": (3, 32, 63), "depth": (1, 32, 63)}
    assert (
        shards.read(0)["depth"][0, 0, 0].isnan()
        and not shards.read(0)["depth"][0, 9:].isnan().any()
    )


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((375, 500), 256, (256, 341)), ((500, 375), 0, (500, 375)), ((99, 300), 100, (99, 300))],
)
def test_the_short_side_is_as_asked_and_nothing_is_enlarged(size, short_side, expected):
    assert smaller(*size, short_side) == expected


def test_numbers_and_their_meaning_are_kept(tmp_path):
    photos(tmp_path)
    (tmp_path / "depth" / "knowledge.json").write_text('{"scale": 1000, "hole": 65535, "low": 0.5}')
    out = packed(tmp_path, hole=None)
    note = read_note(out / "depth")
    assert (note.name, note.scale, note.hole, note.low) == ("depth", 1000, 65535, 0.5)
    ours, theirs = Shards(out), Images(tmp_path / "photos", {"depth": tmp_path / "depth"})
    for index in range(COUNT):
        one, other = (source.read(index)["depth"] for source in (ours, theirs))
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_holes_outlive_8_bits_and_are_not_given_to_jpeg(folder):
    shards = Shards(packed(folder, encoding={"depth": "png8"}))
    images = Images(folder / "photos", {"depth": folder / "depth"}, hole={"depth": 65535.0})
    for index in range(COUNT):
        one, other = shards.read(index)["depth"], images.read(index)["depth"]
        assert torch.equal(one.isnan(), other.isnan())
        assert (one - other).nan_to_num().abs().max() <= 1.01 / 255
    with pytest.raises(ConfigurationError, match=r"JPEG blurs the holes of depth.*png8"):
        packed(folder, "jpeg", encoding={"depth": "jpeg8"})


def test_a_packing_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    photos(tmp_path, 40, 100, 200)
    whole = contents(packed(tmp_path, "whole"))
    process = get_context("fork").Process(target=packed, args=(tmp_path, "cut"))
    process.start()
    pieces = tmp_path / "cut" / ".pieces"
    while process.is_alive() and not (pieces / "00003").exists():
        time.sleep(0.005)
    process.kill()
    process.join()
    assert pieces.exists() and not (tmp_path / "cut" / "index.bin").exists()
    (tmp_path / "cut" / "image" / ".00009.tar.1.partial").write_bytes(b"what a killed one leaves")
    assert contents(packed(tmp_path, "cut")) == whole


def test_what_is_packed_is_not_packed_again(folder):
    packed(folder)
    for path in (folder / "photos").rglob("*.jpg"):
        path.write_bytes(b"gone")
    packed(folder)


def test_a_folder_packed_otherwise_is_left_alone(folder):
    packed(folder)
    for options in ({"quality": 50}, {"hole": None}, {"samples": 4}, {"maps": None, "hole": None}):
        with pytest.raises(ConfigurationError, match=r"packed otherwise .* there, .* here"):
            packed(folder, **options)
    (folder / "photos" / "more.jpg").write_bytes((folder / "photos" / "0.jpg").read_bytes())
    with pytest.raises(ConfigurationError, match=r"packed otherwise .images: .*7"):
        packed(folder, maps=None, hole=None)
    with pytest.raises(ConfigurationError, match="not empty"):
        packed(folder, "photos", maps=None, hole=None)


def test_broken_files_are_left_out_listed_and_counted_up_to_a_share(folder):
    (folder / "photos" / "2.jpg").write_bytes(b"broken")
    (folder / "depth" / "deep.er" / "3.a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)1 of 7 .*broken_share=0.001.*2\.jpg cannot be read"):
        packed(folder)
    out = packed(folder, broken_share=0.5)
    lines = (out / "broken.txt").read_text().splitlines()
    assert [line.partition("\t")[0] for line in lines] == ["2.jpg", "deep.er/3.a.jpg"]
    assert "3.a.png cannot be read" in lines[1]
    assert len(Shards(out)) == 5 and not faults(out)
    assert list(Shards(out).names) == [
        "0.jpg",
        "4.jpg",
        "6.jpg",
        "deep.er/1.a.jpg",
        "deep.er/5.a.jpg",
    ]


def test_a_check_finds_nothing_wrong_with_what_was_just_packed(folder):
    assert faults(packed(folder)) == []


def test_a_check_names_what_is_damaged(folder):
    out = packed(folder)
    index = Shards(out).index
    path, member = out / "depth" / "00001.tar", index.member(4, 1)
    whole = path.read_bytes()
    for place, told in (
        (member.offset + 3, r"sample 4 \(deep.er/1.a.jpg\) is damaged"),
        (member.offset - 512 + 3, "sample 4 .*is missing, or a header"),
        (len(whole) - 1, "is not what was packed, though its samples are"),
    ):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        (fault,) = faults(out)
        assert fault.startswith(str(path))
        assert re.search(told, fault)
    path.write_bytes((out / "depth" / "00000.tar").read_bytes())
    assert "sample 3 (6.jpg) is called 0 there" in faults(out)[0]
    path.unlink()
    assert "cannot be read" in faults(out)[0]
    (out / "index.bin").write_bytes((out / "index.bin").read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"index\.bin is not what was packed"):
        faults(out)


def test_keys_are_what_webdataset_takes_and_no_two_names_share_one():
    names = [
        "a.b.jpg",
        "a/b.c/d.e.jpg",
        "a%2Eb.jpg",
        "__x__/y.jpg",
        "%5F_x__/y.jpg",
        "ü.jpg",
        "a.jpg",
    ]
    keys = [key(name) for name in names]
    assert keys[:2] == ["a%2Eb", "a/b.c/d%2Ee"] and len(set(keys)) == len(names)
    assert not any(each.startswith("__") or "." in each.rpartition("/")[2] for each in keys)


def test_arrays_are_not_packed_for_want_of_a_range(folder):
    np.save(folder / "depth" / "0.npy", np.zeros((20, 30), np.float32))
    (folder / "depth" / "0.png").unlink()
    with pytest.raises(ConfigurationError, match="16-bit PNGs"):
        packed(folder)


def test_options_that_cannot_be_met_are_refused(folder):
    for options in (
        {"quality": 0},
        {"samples": 0},
        {"short_side": -1},
        {"encoding": {"dept": "png8"}},
    ):
        with pytest.raises(ConfigurationError):
            packed(folder, "new", **options)
    assert not (folder / "new").exists()


def test_classes_are_not_blended(tmp_path):
    photos(tmp_path, 1, 60, 60)
    numbers = np.random.default_rng(0).integers(0, 2, (1, 60, 60)).astype(np.uint16) * 500
    (tmp_path / "depth" / "0.png").write_bytes(encode_png(numbers))
    out = packed(tmp_path, maps={"classes": tmp_path / "depth"}, hole=None, short_side=32)
    assert set(Shards(out).read(0)["classes"].unique().tolist()) == {0, 500}


def test_a_shard_says_nothing_of_when_and_by_whom_it_was_made(folder):
    out = packed(folder)
    assert json.loads((out / "shards.json").read_text())["images"]["count"] == COUNT
    header = (out / "image" / "00000.tar").read_bytes()[:512]
    assert (
        header[108:116] == header[116:124] == b"0000000\0" and header[136:148] == b"0" * 11 + b"\0"
    )


def test_there_may_be_more_shards_than_files_that_can_be_open(tmp_path):
    photos(tmp_path, 60, 8, 8)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, before[1]))
    try:
        out = packed(tmp_path, maps=None, hole=None, samples=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(Shards(out)) == 60 and Shards(out).index.shards == 60


def test_names_may_be_any_bytes_and_of_any_length(tmp_path):
    names = ["ü" * 60, os.fsdecode(b"raw\xff"), "a b\nc", "x" * 200]
    (tmp_path / "photos" / ("d" * 90)).mkdir(parents=True)
    for name in names:
        with open(tmp_path / "photos" / f"{'d' * 90}/{name}.jpg", "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "JPEG")
    (tmp_path / "photos" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"broken")
    shards = Shards(packed(tmp_path, maps=None, hole=None, broken_share=0.5))
    assert {name.rpartition("/")[2] for name in shards.names} == {f"{name}.jpg" for name in names}
    assert faults(tmp_path / "packed") == []
    assert (tmp_path / "packed" / "broken.txt").read_bytes().startswith(b"bad\xff.jpg\t")
