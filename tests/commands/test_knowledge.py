import re

import pytest
import torch

from sgmim.data.images import Images
from sgmim.knowledge.edges import edges
from sgmim.knowledge.maps import make
from shell import files, photographs, sgmim


@pytest.fixture
def photos(tmp_path):
    return photographs(tmp_path / "photos")


def test_edges_are_made_for_every_image(tmp_path, photos, capsys):
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    assert "6 maps made, 0 were there, 0 images are broken" in capsys.readouterr().out
    source = Images(photos, {"edges": tmp_path / "maps"})
    for index in range(6):
        sample = source.read(index)
        expected = edges(sample["image"][None] / 255)[0]
        torch.testing.assert_close(sample["edges"], expected, rtol=0, atol=1e-5)


def test_a_stopped_command_goes_on(tmp_path, photos, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgmim.commands.knowledge.make", _two_and_no_more)
        assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 130
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    number = int(re.search(r"(\d) were there", capsys.readouterr().out)[1])
    assert 2 <= number < 6
    assert sum(name.endswith(".png") for name in files(tmp_path / "maps")) == 6 + 1  # a sheet


def _two_and_no_more(*args, **options):
    made = make(*args, **options)
    yield next(made)
    yield next(made)
    raise KeyboardInterrupt


def test_a_broken_image_is_named_and_left_out(tmp_path, photos, capsys):
    (photos / "grey.jpg").write_bytes((photos / "grey.jpg").read_bytes()[:99])
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    said = capsys.readouterr()
    assert said.err.startswith("left out: ") and "grey.jpg" in said.err
    assert "5 maps made, 0 were there, 1 images are broken" in said.out


def test_a_folder_of_broken_images_is_an_error(tmp_path, photos, capsys):
    for path in photos.rglob("*.*"):
        path.write_bytes(b"no picture")
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 65
    assert "none of the 6 images" in capsys.readouterr().err


def test_what_cannot_be_made_is_told(tmp_path, photos, capsys):
    assert sgmim("knowledge", "edgs", photos, tmp_path / "maps") == 2
    assert "did you mean 'edges'?" in capsys.readouterr().err
    assert sgmim("knowledge", "edges", tmp_path / "none", tmp_path / "maps") == 74
    assert sgmim("knowledge", "edges", photos, photos) == 2
    assert "would take maps for images" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()
