"""The newest checkpoint is damaged in every way: the one before it is taken, and it is named."""

import random

import pytest
from torch.testing import assert_close

from sgmim.checkpoint import latest
from test_checkpoint import Run

pytestmark = pytest.mark.slow

CORRUPTIONS = 50
FLIPS = 2_000


def flipped(content, draw):
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def longer(content, draw):
    return content + draw.randbytes(draw.randint(1, 5000))


def zeroed(content, draw):
    """A block that never reached the disk."""
    at = draw.randrange(len(content)) // 512 * 512
    return content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :]


def swapped(content, draw):
    one, other = sorted(draw.sample(range(len(content) // 512), 2))
    blocks = [content[place : place + 512] for place in range(0, len(content), 512)]
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


def noise(content, draw):
    return draw.randbytes(len(content))


HARMS = (flipped, cut, longer, zeroed, swapped, noise)


def test_a_corrupted_checkpoint_falls_back_to_the_one_before_it(tmp_path, recorded):
    draw, kept, run = random.Random(0), 0, Run().go_to(1)
    run.save(tmp_path)
    before = run.state()
    run.done = 2
    newest = run.save(tmp_path)
    whole = newest.read_bytes()
    for number in range(CORRUPTIONS):
        damaged = whole
        while damaged == whole:
            damaged = HARMS[number % len(HARMS)](whole, draw)
        newest.write_bytes(damaged)
        found = latest(tmp_path)
        kept += found.step == 1 and list(found.passed_over) == [newest.name]
    assert_close(Run().restore(latest(tmp_path)).state(), before, rtol=0, atol=0)
    recorded(
        "atomic checkpoints",
        "corrupted newest checkpoint: named, and the one before it is taken",
        CORRUPTIONS,
        kept,
    )


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path, recorded):
    draw, kept = random.Random(1), 0
    Run().save(tmp_path)
    run = Run().go_to(1)
    path = run.save(tmp_path)
    whole = path.read_bytes()
    for _ in range(FLIPS):
        path.write_bytes(flipped(whole, draw))
        kept += latest(tmp_path).step == 0
    recorded("atomic checkpoints", "one flipped bit of a checkpoint: found", FLIPS, kept)
