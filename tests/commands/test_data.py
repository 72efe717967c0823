import pytest

from packs import photos
from sgmim.data.shards import Shards
from shell import TINY, losses, sgmim


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path, 12, 40, 40)


def test_images_are_packed_checked_and_trained_on(folder, capsys):
    maps = ("--maps.depth", folder / "depth", "--hole.depth", "65535", "--workers=0")
    out = folder / "out"
    assert sgmim("data", "pack", folder / "photos", out, *maps, "--samples=5") == 0
    assert sgmim("data", "check", out, "--workers=0") == 0
    assert "3 shards are as they were packed" in capsys.readouterr().out
    runs = {
        "shards": (f"--data.shards={out}",),
        "folder": (
            f"--data.images={folder / 'photos'}",
            f"--data.maps.depth={folder / 'depth'}",
            "--data.hole.depth=65535",
        ),
    }
    for name, data in runs.items():
        assert sgmim("pretrain", "sgmim", *TINY, *data, f"--run={folder / name}") == 0
    assert losses(folder / "shards") == losses(folder / "folder")


def test_a_check_that_finds_something_exits_with_65(folder, capsys):
    out = folder / "out"
    assert sgmim("data", "pack", folder / "photos", out, "--workers=0") == 0
    path, member = out / "image" / "00000.tar", Shards(out).index.member(3, 0)
    content = bytearray(path.read_bytes())
    content[member.offset] ^= 1
    path.write_bytes(content)
    assert sgmim("data", "check", out, "--workers=0") == 65
    shown = capsys.readouterr()
    assert "sample 3 (" in shown.err and "has 1 faults" in shown.err


def test_broken_images_are_told_of(folder, capsys):
    (folder / "photos" / "0.jpg").write_bytes(b"broken")
    words = ("data", "pack", folder / "photos", folder / "out", "--workers=0")
    assert sgmim(*words) == 65
    assert "broken_share=0.001" in capsys.readouterr().err
    assert sgmim(*words, "--broken_share=0.5") == 0
    assert "1 broken ones left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "WHAT? There is scan, pack, check"),
        (("pak",), "did you mean 'pack'"),
        (("scan", "gone"), "no folder or list gone"),
        (("scan", ".", "--gpu=0"), "more than 0"),
        (("check", "gone"), "no folder gone"),
        (("check", "s3://bucket"), "reads a folder"),
        (("pack", ".", "out", "--encoding.depth=png7"), "encoding"),
        (("pack", ".", "out", "--qualty=3"), "did you mean '--quality'"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys):
    assert sgmim("data", *words) in (2, 74)
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1


def test_help_tells_the_jobs(capsys):
    assert sgmim("data", "--help") == 0
    assert "sgmim data pack IMAGES OUT" in capsys.readouterr().out
