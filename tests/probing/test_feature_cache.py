"""Features on disk: the same bit for bit, and never those of other weights, images or settings."""

import json
import os

import pytest
import torch

from sgmim.data.classes import InFolders
from sgmim.data.images import Images
from sgmim.errors import FileError
from sgmim.probing.cache import kept, stamp
from shell import photographs


def of(*tensors):
    """What makes features, and how often it was asked."""
    asked = []

    def make():
        asked.append(1)
        return list(tensors)

    return make, asked


def test_what_was_kept_is_the_same_bit_for_bit_and_not_made_again(tmp_path):
    banks = torch.randn(5, 3), torch.randn(5, 7)
    make, asked = of(*banks)
    first = kept(tmp_path, {"weights": "a"}, make)
    again = kept(tmp_path, {"weights": "a"}, make)
    assert len(asked) == 1
    for bank, one, other in zip(banks, first, again, strict=True):
        assert torch.equal(bank, one) and torch.equal(bank, other)


def test_of_anything_else_nothing_is_used_again(tmp_path):
    make, asked = of(torch.zeros(1, 1))
    for about in ({"weights": "a"}, {"weights": "b"}, {"weights": "a", "share": 0.875}):
        kept(tmp_path, about, make)
    assert len(asked) == 3


def test_a_note_that_says_something_else_is_not_believed(tmp_path):
    make, asked = of(torch.zeros(1, 1))
    kept(tmp_path, {"weights": "a"}, make)
    (note,) = tmp_path.glob("*.json")
    assert json.loads(note.read_text()) == {"weights": "a"}
    note.write_text(json.dumps({"weights": "b"}))
    kept(tmp_path, {"weights": "a"}, make)
    assert len(asked) == 2


def test_features_without_their_note_are_made_again(tmp_path):
    make, asked = of(torch.zeros(1, 1))
    kept(tmp_path, {}, make)
    (note,) = tmp_path.glob("*.json")
    note.unlink()
    kept(tmp_path, {}, make)
    assert len(asked) == 2


def test_a_folder_that_cannot_be_written_is_an_error_of_files(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        kept(tmp_path / "file", {}, of(torch.zeros(1, 1))[0])


@pytest.fixture
def folder(tmp_path):
    images = photographs(tmp_path / "cats")
    for file in images.glob("*.jpg"):
        (images / "winter").mkdir(exist_ok=True)
        file.rename(images / "winter" / file.name)
    return images


def mark(folder):
    options = {"images": folder, "labels": "folders"}
    return stamp(InFolders(Images(folder)), options)


def test_images_that_nobody_touched_have_one_stamp(folder):
    assert mark(folder) == mark(folder)


def test_an_image_of_other_content_has_another_stamp(folder):
    before, file = mark(folder), folder / "winter" / "grey.jpg"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=times)  # as large and as old as before, as far as it says itself
    assert mark(folder) != before


def test_one_image_more_and_one_in_another_folder_have_other_stamps(folder):
    before = mark(folder)
    (folder / "winter" / "more.jpg").write_bytes((folder / "winter" / "grey.jpg").read_bytes())
    with_more = mark(folder)
    (folder / "winter" / "more.jpg").rename(folder / "summer" / "more.jpg")
    assert len({before, with_more, mark(folder)}) == 3


def test_images_of_a_list_are_looked_at_one_by_one(folder, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text("cats/winter/grey.jpg\n")
    marks = [stamp(Images(names), {"images": names})]
    (folder / "winter" / "color.jpg").touch()
    marks.append(stamp(Images(names), {"images": names}))
    (folder / "winter" / "grey.jpg").touch()
    marks.append(stamp(Images(names), {"images": names}))
    assert marks[0] == marks[1] != marks[2]


def test_of_what_is_behind_a_url_nobody_can_say_whether_it_changed(folder):
    assert stamp(Images(folder), {"shards": "s3://bucket/images"}) is None
