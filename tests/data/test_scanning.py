import json

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.images import Images
from sgmim.data.scanning import scan
from sgmim.errors import ConfigurationError
from shell import photographs, sgmim


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos") / "images")


def found(images, **options):
    *_, (findings, total) = scan(images, **{"workers": 0, "size": 16} | options)
    assert findings.count == total
    return findings


def test_formats_modes_and_sizes_are_counted(photos):
    findings = found(photos)
    assert findings.formats == {"JPEG": 4, "PNG": 1, "WEBP": 1}
    assert findings.modes == {"RGB": 3, "L": 1, "RGBA": 1, "CMYK": 1}
    assert sorted(findings.short_sides.elements()) == [36, 40, 40, 40, 40, 40]
    report = findings.report(1000.0)
    assert report["short_side"]["0%"] == 36 and report["short_side"]["50%"] == 40
    assert report["bytes"] == sum(p.stat().st_size for p in photos.rglob("*") if p.is_file())


def test_mean_and_deviation_are_those_of_the_colors(photos):
    source = Images(photos)
    colors = torch.cat([source.read(i)["image"].flatten(1) for i in range(6)], 1).double() / 255
    report = found(photos).report(1000.0)
    assert np.allclose(report["mean"], colors.mean(1), atol=0.02)
    assert np.allclose(report["deviation"], colors.std(1), atol=0.02)


def test_workers_are_enough_for_the_gpu(photos):
    report = found(photos).report(1000.0)
    one = report["images_per_second_and_core"]
    assert (report["workers_per_gpu"] - 1) * one < 1000.1 <= report["workers_per_gpu"] * one + 0.2


def test_processes_find_what_one_finds(photos):
    one, other = found(photos), found(photos, workers=2)
    one.seconds = other.seconds = 0
    assert json.dumps(one.report(1.0)["mean"]) == json.dumps(other.report(1.0)["mean"])
    assert one.short_sides == other.short_sides and one.modes == other.modes


def test_some_images_may_be_enough(photos):
    assert found(photos, count=2).count == 2
    with pytest.raises(ConfigurationError):
        found(photos, count=0)


def test_broken_files_are_listed_with_reasons(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "images" / "good.png")
    (tmp_path / "images" / "bad.jpg").write_bytes(b"no image")
    words = ("--workers=0", "--broken", tmp_path / "list.txt", "--json", tmp_path / "out.json")
    assert sgmim("data", "scan", tmp_path / "images", *words) == 0
    shown = capsys.readouterr().out
    assert "PNG 1" in shown and "RGB 1" in shown and "workers for a GPU that takes 1000" in shown
    path, _, reason = (tmp_path / "list.txt").read_text().partition("\t")
    assert path == str(tmp_path / "images" / "bad.jpg") and "cannot be read" in reason
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["images"], report["broken"], report["formats"]) == (2, 1, {"PNG": 1})
