import pytest

from sgmim.data.splits import Folder, find_listed, read_pairs
from sgmim.errors import DataError, FileError


def written(folder, text):
    (folder / "list.txt").write_text(text)
    return folder / "list.txt"


def test_two_columns_or_three_are_read_and_none_is_counted(tmp_path):
    lines = "/rgb/1.png /depth/1.png\nrgb/2.png depth/2.png 721.5\n\nrgb/3.png None 721.5\n"
    pairs, without_truth = read_pairs(written(tmp_path, lines))
    assert pairs == [("rgb/1.png", "depth/1.png"), ("rgb/2.png", "depth/2.png")]
    assert without_truth == 1


@pytest.mark.parametrize(
    "lines, said",
    [
        ("rgb/1.png\n", "line 1 of .*list.txt is not 'IMAGE TRUTH': 'rgb/1.png'"),
        ("a.png b.png\n../../etc/passwd b.png\n", "line 2 of .*list.txt leads out"),
        ("a.png x/../../b.png\n", "leads out"),
        ("a.png None\n", "names no image that has a truth"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(tmp_path, lines, said):
    with pytest.raises(DataError, match=said):
        read_pairs(written(tmp_path, lines))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(FileError, match=r"gone\.txt"):
        read_pairs(tmp_path / "gone.txt")


def test_a_list_that_names_missing_files_says_how_many_and_which(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / "1.png").touch()
    path = written(tmp_path, "1.png d/1.png\n2.png d/2.png\n")
    with pytest.raises(DataError, match=r"3 of the 4 files .* are not in .*: d/1.png, 2.png"):
        find_listed(Folder(tmp_path), path, ["rgb"], [""])


def test_a_folder_is_looked_into_once(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    folder = Folder(tmp_path)
    assert folder.has("a.png") and not folder.has("b.png") and not folder.has("gone/c.png")
    monkeypatch.setattr("os.listdir", None)
    assert folder.has("a.png") and not folder.has("gone/d.png")
