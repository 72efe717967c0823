import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim import progress
from sgmim.data.images import Images
from sgmim.knowledge.edges import edges
from sgmim.knowledge.maps import make
from sgmim.reports.previews import preview
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
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps", "--device=tape") == 2
    assert "device 'tape' cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_help_tells_the_options_of_the_source_and_of_the_making(capsys):
    assert sgmim("knowledge", "--help") == 0
    assert "sgmim knowledge NAME IMAGES MAPS" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        sgmim("knowledge", "edges", "--help")
    said = capsys.readouterr().out
    assert "Edge strength" in said
    for option in ("--batch", "--precision", "--max_side", "--confidence", "--device", "--root"):
        assert option in said
    assert sgmim("knowledge") == 2 and sgmim("knowledge", "--batch=3") == 2


def test_dashes_in_an_option_count_as_underscores(tmp_path, photos):
    for number, words in enumerate((["--max-side=20"], ["--max-side", "20"], ["--max_side=20"])):
        assert sgmim("knowledge", "edges", photos, tmp_path / f"{number}", *words) == 0
        size = Image.open(tmp_path / f"{number}" / "color.png").size
        assert size == (20, 14)
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps", "--max-sid=20") == 2


def test_a_sheet_shows_images_beside_their_maps(tmp_path, photos, capsys):
    words = ("knowledge", "edges", photos, tmp_path / "maps", f"--confidence={tmp_path / 'sure'}")
    assert sgmim(*words) == 0
    path = tmp_path / "maps" / ".preview.png"
    assert f"see {path}" in capsys.readouterr().out
    width, height = Image.open(path).size
    assert width > 3 * 256 and height > 6 * 192
    assert Images(photos, {"edges": tmp_path / "maps"}).read(0)["edges"].shape[0] == 1
    Image.open(path).convert("RGB").save(photos / "preview.png")  # a map for it is no sheet
    assert sgmim(*words) == 0
    assert (tmp_path / "maps" / "preview.png").is_file()


def test_a_sheet_passes_over_images_without_a_map(tmp_path, photos):
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    images = Images(photos)
    height = preview(images, [tmp_path / "maps"], 3).size[1]
    (tmp_path / "maps" / "color.png").unlink()
    assert preview(images, [tmp_path / "maps"], 3).size[1] == height  # its neighbor
    for path in (tmp_path / "maps").rglob("*.png"):
        path.unlink()
    assert preview(images, [tmp_path / "maps"]) is None


def test_images_of_one_color_throughout_are_an_error(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        image = Image.new("RGB", (20, 20), (40 * number, 9, 9))
        image.save(tmp_path / "photos" / f"{number}.png")
    assert sgmim("knowledge", "edges", tmp_path / "photos", tmp_path / "maps") == 65
    said = capsys.readouterr()
    assert "3 maps are constant" in said.out and "constant.txt" in said.out
    assert "all 3 maps are constant: the source sees nothing" in said.err


def test_maps_are_not_made_among_the_images(tmp_path, photos, capsys):
    assert sgmim("knowledge", "edges", photos, photos / "summer" / "maps") == 2
    assert "is inside" in capsys.readouterr().err
    assert not (photos / "summer" / "maps").exists()


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path, photos, capsys, monkeypatch):
    (photos / "summer").chmod(0)
    if os.geteuid() == 0:  # whom no folder is closed to
        scan = os.scandir

        def closed(place):
            if str(place).rstrip("/").endswith("summer"):
                raise PermissionError(errno.EACCES, "Permission denied", str(place))
            return scan(place)

        monkeypatch.setattr("sgmim.data.listing.os.scandir", closed)
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 74
    said = capsys.readouterr().err
    assert "cannot look into the folder" in said and "summer" in said and said.count("\n") == 1
    (photos / "summer").chmod(0o755)


def test_a_full_disk_is_told_and_the_command_goes_on_later(tmp_path, photos, capsys, monkeypatch):
    replace, left = os.replace, iter(range(4))  # the note and three maps

    def full(one, other):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device", str(other))
        replace(one, other)

    with monkeypatch.context() as patch:
        patch.setattr("sgmim.files.os.replace", full)
        assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 74
    said = capsys.readouterr().err
    assert "cannot write" in said and "make room" in said and said.count("\n") == 1
    assert not any("partial" in name for name in files(tmp_path / "maps"))
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    assert "3 were there" in capsys.readouterr().out


def test_many_broken_images_are_listed_and_not_all_told(tmp_path, photos, capsys):
    for number in range(30):
        (photos / f"{number}.jpg").write_bytes(b"no picture")
    assert sgmim("knowledge", "edges", photos, tmp_path / "maps") == 0
    said = capsys.readouterr()
    assert said.err.count("left out:") == 21 and "left out: 10 more" in said.err
    assert f"30 images are broken ({tmp_path / 'maps' / 'broken.txt'})" in said.out
    assert (tmp_path / "maps" / "broken.txt").read_text().count("\n") == 30


def test_lines_tell_how_far_it_is_where_nobody_sees_a_bar(capsys, monkeypatch):
    now = iter([0.0, 10.0, 40.0, 60.0, 100.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(now))
    with progress.progress("edges") as tell:
        for done in (100, 4000, 4100, 8000):
            tell(done, 10_000)
    assert capsys.readouterr().out.splitlines() == [
        "edges: 4,000 of 10,000, 100.0/s, 0:01:00 to go",
        "edges: 8,000 of 10,000, 66.7/s, 0:00:30 to go",
    ]


def test_a_bar_tells_it_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with progress.progress("edges") as tell:
        tell(70, 200)
    said = capsys.readouterr().out
    assert "edges" in said and "70/200" in said


def test_labels_as_multimae_released_them_are_read_as_they_are(tmp_path):
    """16-bit PNG or JPX over 2^16, train/depth/CLASS/IMAGE beside train/rgb/CLASS/IMAGE."""
    pixels = np.random.default_rng(0).integers(0, 65536, (24, 32), dtype=np.uint16)
    for name, suffix in (("n01440764/one", "png"), ("n01443537/two", "JPX")):
        image, depth = (tmp_path / "train" / room / name for room in ("rgb", "depth"))
        for path in (image, depth):
            path.parent.mkdir(parents=True)
        Image.new("RGB", (32, 24)).save(f"{image}.jpg")
        Image.fromarray(pixels).save(f"{depth}.{'png' if suffix == 'png' else 'jp2'}")
        if suffix == "JPX":
            Path(f"{depth}.jp2").rename(f"{depth}.JPX")
    source = Images(tmp_path / "train" / "rgb", {"depth": tmp_path / "train" / "depth"})
    for index in range(2):
        assert torch.equal(source.read(index)["depth"][0], torch.from_numpy(pixels / 2**16).float())


def test_the_example_for_a_source_of_ones_own_runs(tmp_path, photos, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "knowledge.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    source = Images("photos", {"brightness": Path("maps/brightness")})
    bright = source.read(0, {"brightness"})["brightness"]
    assert bright.min() < 0.2 and bright.max() > 0.8
