import io
import json
import pickle
import struct
from itertools import islice

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from packs import COUNT, packed, photos
from sgmim.data.batches import Batches, in_order
from sgmim.data.images import Images, Source
from sgmim.data.shards import Shards
from sgmim.errors import ConfigurationError, DataError, FileError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = photos(tmp_path_factory.mktemp("data"))
    packed(folder)
    return folder


@pytest.fixture(scope="module")
def images(folder):
    return Images(folder / "photos", {"depth": folder / "depth"}, hole={"depth": 65535.0})


@pytest.fixture
def own(tmp_path):
    """Packed photos that a test may damage."""
    return packed(photos(tmp_path))


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_a_sample_is_that_of_the_folder_to_the_bit(folder, images):
    shards = Shards(folder / "packed")
    assert isinstance(shards, Source) and shards.has == {"image", "depth"}
    assert list(shards.names) == list(images.names) and len(shards) == COUNT
    for index in reversed(range(COUNT)):
        same(shards.read(index), images.read(index))


def test_only_what_is_needed_is_read(folder):
    shards = Shards(folder / "packed")
    assert set(shards.read(1, ["depth"])) == {"depth"}
    assert set(shards.read(1, {"image"})) == {"image"}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(folder, images, workers):
    options = {"size": (8, 8), "batch": 4, "needs": ("image", "depth")}
    ours = Batches(Shards(folder / "packed"), **options, workers=workers)
    for one, other in zip(islice(ours(2), 4), Batches(images, **options)(2), strict=False):
        same(one, other)


def test_it_may_be_pickled(folder):
    shards = Shards(folder / "packed")
    shards.read(2)
    same(pickle.loads(pickle.dumps(shards)).read(5), shards.read(5))


def test_webdataset_reads_the_same_files(folder):
    shards = Shards(folder / "packed")
    urls = {
        name: sorted(str(p) for p in (folder / "packed" / name).glob("*.tar"))
        for name in shards.has
    }
    assert [len(found) for found in urls.values()] == [3, 3]
    image, depth = (
        list(webdataset.WebDataset(urls[name], shardshuffle=False)) for name in ("image", "depth")
    )
    assert [each["__key__"] for each in image] == [each["__key__"] for each in depth]
    assert [each["__key__"].replace("%2E", ".") + ".jpg" for each in image] == list(shards.names)
    for index in range(COUNT):
        sample = shards.read(index)
        pixels = np.array(Image.open(io.BytesIO(image[index]["jpg"])))
        assert np.array_equal(pixels, sample["image"].permute(1, 2, 0))
        numbers = np.array(Image.open(io.BytesIO(depth[index]["png"])), np.float32)
        known = ~sample["depth"][0].isnan()
        assert torch.equal(torch.from_numpy(numbers / 65536)[known], sample["depth"][0][known])


def test_8_bit_depth_stays_bytes_until_it_is_in_a_batch(tmp_path):
    out = packed(photos(tmp_path), hole=None, encoding={"depth": "png8"})
    images = Images(tmp_path / "photos", {"depth": tmp_path / "depth"})
    shards = Shards(out)
    for index in range(COUNT):
        values = shards.read(index)["depth"]
        assert values.dtype == torch.uint8
        assert (values / 255 - images.read(index)["depth"]).abs().max() <= 0.51 / 255
    (batch,) = islice(in_order(shards, batch=1, needs=("depth",)), 1)
    assert torch.equal(batch["depth"][0], shards.read(0)["depth"] / 255)


@pytest.mark.parametrize("modality", ["image", "depth"])
def test_a_flipped_bit_is_found_when_its_sample_is_read(own, modality):
    shards = Shards(own)
    number = shards.index.modalities.index(modality)
    member = shards.index.member(4, number)
    path = own / modality / "00001.tar"
    content = bytearray(path.read_bytes())
    content[member.offset + member.size // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{modality}/00001\.tar, sample 4 .*CRC32C.*data check"):
        shards.read(4)
    shards.read(3)


def test_a_shard_that_is_missing_or_cut_is_named(own):
    (own / "depth" / "00002.tar").write_bytes((own / "depth" / "00002.tar").read_bytes()[:-512])
    (own / "image" / "00000.tar").unlink()
    shards = Shards(own)
    with pytest.raises(DataError, match=r"00002\.tar, sample 6 .*bytes, not"):
        shards.read(6)
    with pytest.raises(DataError, match=r"00000\.tar, sample 0 .*No such file"):
        shards.read(0)


def test_a_bomb_in_a_shard_is_refused_before_it_is_decoded(own):
    shards = Shards(own, max_pixels=20 * 30)
    shards.read(0)
    with pytest.raises(DataError, match=r"sample 1 .*22 x 30 pixels, more than max_pixels=600"):
        shards.read(1)


def test_what_is_no_packed_data_is_said(own, tmp_path):
    with pytest.raises(FileError, match="there is no folder"):
        Shards(tmp_path / "gone")
    with pytest.raises(FileError, match=r"holds no shards\.json"):
        Shards(tmp_path)
    with pytest.raises(ConfigurationError, match=r"packed images: --data\.shards"):
        Images(own)
    manifest = json.loads((own / "shards.json").read_text())
    (own / "shards.json").write_text(json.dumps({**manifest, "index": 3}))
    with pytest.raises(DataError, match=r"shards\.json is damaged"):
        Shards(own)
    del manifest["index"]
    (own / "shards.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="packed was not packed to the end"):
        Shards(own)


@pytest.mark.parametrize("cut", [0, 1, 63, 200, -1])
def test_an_index_that_was_cut_is_refused(own, cut):
    (own / "index.bin").write_bytes((own / "index.bin").read_bytes()[:cut])
    with pytest.raises(DataError, match="no index of shards, or damaged"):
        Shards(own)


def test_offsets_that_lead_out_of_a_shard_are_refused(own):
    index = Shards(own).index
    content, place = bytearray((own / "index.bin").read_bytes()), index._places[2]
    struct.pack_into("<Q", content, place, 2**63)
    struct.pack_into("<I", content, place + 2 * 16 + 8, 2**32 - 1)
    (own / "index.bin").write_bytes(content)
    for sample in (0, 1):
        with pytest.raises(DataError, match=f"sample {sample} .*or none at"):
            Shards(own).read(sample)
