import json
from dataclasses import replace

import pytest
import torch

from exports import kept, leaving
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.export import export, formats, timm_folder
from sgmim.export.check import Pair, checked
from sgmim.export.subject import open_subject


def pair(ours, theirs):
    return Pair("features", torch.zeros(1, 3, 8, 12), torch.tensor(ours), torch.tensor(theirs))


def test_the_difference_is_measured_in_the_largest_number_or_in_one():
    assert pair([3.0, 80.0], [3.0, 80.004]).difference == pytest.approx(5e-5, rel=0.05)
    assert pair([0.1], [0.1002]).difference == pytest.approx(2e-4, rel=0.05)
    assert pair([1.0], [float("nan")]).difference == pair([1.0], [1.0, 1.0]).difference == torch.inf


def test_a_difference_of_more_than_a_ten_thousandth_is_an_error():
    assert checked("timm", [pair([1.0], [1.00009])], "").largest < 1e-4
    with pytest.raises(DataError, match=r"features of 8 x 12 pixels differ by 1\.1e-04"):
        checked("timm", [pair([1.0], [1.00011])], "")


def test_what_was_compared_is_kept_beside_the_weights(tmp_path):
    outcome = export(leaving("vit", tmp_path), "sgmim", tmp_path / "sgmim")
    told = json.loads((tmp_path / "sgmim" / "check.json").read_text())
    assert [row["size"] for row in told["checks"]] == [[64, 64]] * 2 + [[128, 128], [128, 192]]
    assert [row["batch"] for row in told["checks"]] == [1, 3, 1, 1]
    assert told["difference"] == outcome.largest <= told["allowed"] == 1e-4
    assert told["checks"][0]["difference"] <= told["difference"] and told["format"] == "sgmim"


def test_an_export_that_fails_leaves_the_one_before_it(tmp_path, monkeypatch):
    subject = leaving("vit", tmp_path)
    export(subject, "timm", tmp_path / "timm")
    before = {path.name: path.read_bytes() for path in (tmp_path / "timm").iterdir()}
    export(subject, "timm", tmp_path / "timm")

    def wrong(subject, folder):
        for true in right(subject, folder):
            yield replace(true, theirs=true.theirs + 1)

    right = timm_folder.pairs
    monkeypatch.setattr(timm_folder, "pairs", wrong)
    with pytest.raises(DataError):
        export(subject, "timm", tmp_path / "timm")
    assert {path.name: path.read_bytes() for path in (tmp_path / "timm").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "timm"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "thesis.tex").write_text("years")
    with pytest.raises(FileError, match="is no export"):
        export(leaving("vit", tmp_path), "timm", tmp_path / "timm")
    assert (tmp_path / "timm" / "thesis.tex").read_text() == "years"


def test_an_encoder_can_be_made_for_another_size_first(tmp_path):
    subject = open_subject(kept("vit", tmp_path / "run"), image_size=(96, 64))
    outcome = export(subject, "timm", tmp_path / "timm")
    assert outcome.sizes == ["96 x 64"] and subject.encoder.grid == (6, 4)


def test_formats_are_read_and_refused_before_anything_is_made(monkeypatch):
    assert formats("timm, torch timm") == ("timm", "torch")
    with pytest.raises(ConfigurationError, match="did you mean 'onnx'"):
        formats("onx")
    with pytest.raises(ConfigurationError, match="--to takes formats"):
        formats("")
    monkeypatch.setattr("sgmim.export.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'sgmim\[onnx\]'"):
        formats("onnx")


def test_without_a_normalization_nobody_could_use_it(tmp_path):
    kept("vit", tmp_path, header={"normalization": ""})
    with pytest.raises(ConfigurationError, match="give --normalization"):
        open_subject(tmp_path)
    assert open_subject(tmp_path, normalization="none").mean == (0.0, 0.0, 0.0)
    with pytest.raises(ConfigurationError, match="did you mean 'half'"):
        open_subject(tmp_path, normalization="halve")


def test_a_license_that_is_known_cannot_be_changed(tmp_path):
    kept("vit", tmp_path, header={"license": "CC BY-NC 4.0"})
    assert open_subject(tmp_path, license="cc-by-nc-4.0").header["license"]
    kept("vit", tmp_path / "other", header={"license": "unknown: its source has none"})
    assert open_subject(tmp_path / "other", license="mit").header["license"] == "mit"
    with pytest.raises(ConfigurationError, match=r"under 'CC BY-NC 4\.0'"):
        open_subject(tmp_path, license="mit")


def test_what_holds_no_encoder_is_refused(tmp_path):
    with pytest.raises(FileError, match="no encoder at"):
        open_subject(tmp_path)
