"""Bits that flip in packed data: every one is found."""

import random

import pytest

from faults.crashing import in_children
from packs import packed, photos
from sgmim.data.checking import check
from sgmim.data.shards import Shards
from sgmim.errors import DataError

pytestmark = pytest.mark.slow

FLIPS = 10_000
BATCH = 500


def flip(item):
    """Flip one bit of a file and look for it; what is not as promised."""
    out, name, number, members = item
    draw = random.Random(number)
    with open(out / name, "r+b") as file:
        place, bit = draw.randrange(file.seek(0, 2)), 1 << draw.randrange(8)
        _toggle(file, place, bit)
        sample = next((i for i, m in members if m.offset <= place < m.offset + m.size), None)
        try:
            if not _found(out, sample, name.partition("/")[0]):
                yield f"{name}, byte {place}, bit {bit}: nothing was found"
        except Exception as error:
            yield f"{name}, byte {place}, bit {bit}: {type(error).__name__}: {error}"
        _toggle(file, place, bit)


def _toggle(file, place, bit):
    file.seek(place)
    byte = file.read(1)[0]
    file.seek(place)
    file.write(bytes([byte ^ bit]))
    file.flush()


def _found(out, sample, modality):
    """Where it is in a sample, by reading that; elsewhere by a check."""
    try:
        if sample is not None:
            Shards(out).read(sample, [modality])
            return False
        return any(checked.faults for checked in check(out, workers=0))
    except DataError as error:
        return sample is None or f"sample {sample} " in str(error)


def test_every_flipped_bit_is_found(tmp_path, recorded):
    out = packed(photos(tmp_path, 6))
    index = Shards(out).index
    files = {
        index.file(shard, modality).name: [
            (i, index.member(i, modality))
            for i in range(index.starts[shard], index.starts[shard + 1])
        ]
        for shard in range(index.shards)
        for modality in range(2)
    }
    files["index.bin"] = []
    names = list(files)
    items = [(out, name := names[n % len(names)], n, files[name]) for n in range(FLIPS)]
    wrong = in_children(flip, items, BATCH)
    print(*wrong[:20], sep="\n")
    recorded("bit rot in shards", "every flip detected", FLIPS, FLIPS - len(wrong))
    assert not any(checked.faults for checked in check(out, workers=0))
