import zipfile

import pytest

from sgmim.checkpoint.sealing import check_seal, seal
from sgmim.errors import DataError


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "file.zip"
    with open(path, "w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a", b"some content" * 9)
        seal(file)
    return path


def test_a_sealed_file_is_a_zip_file_like_any_other(sealed):
    check_seal(sealed)
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None and archive.read("a") == b"some content" * 9


def test_any_byte_that_changes_breaks_the_seal(sealed):
    whole = sealed.read_bytes()
    for place in range(len(whole)):
        sealed.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match="not as it was written"):
            check_seal(sealed)


def test_any_cut_breaks_the_seal(sealed):
    whole = sealed.read_bytes()
    for length in range(len(whole)):
        sealed.write_bytes(whole[:length])
        with pytest.raises(DataError, match="not as it was written"):
            check_seal(sealed)


def test_what_is_no_zip_file_is_not_sealed(tmp_path):
    (tmp_path / "text").write_bytes(b"some text")
    with open(tmp_path / "text", "r+b") as file, pytest.raises(AssertionError):
        seal(file)
