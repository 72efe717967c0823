import pickle

import numpy as np
import pytest
import torch

import trees
from sgmim.data.datasets import nyu
from sgmim.data.datasets.nyu import Nyu
from sgmim.errors import ConfigurationError, DataError, FileError

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    return trees.nyu_labeled(tmp_path_factory.mktemp("labeled"), count=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trees.nyu_folders(tmp_path_factory.mktemp("folders"))


def test_axes_are_put_right(labeled):
    sample = Nyu(labeled).read(1)
    picture = torch.from_numpy(trees.colored(480, 640, 2)).permute(2, 0, 1)  # the third of all
    assert torch.equal(sample["image"], picture)
    assert sample["image"][:, 0, 0].tolist() == [255, 0, 0]  # red at the top left
    expected = torch.from_numpy(trees.ramp(480, 640, 1, 9) + 0.02).float()[None]
    torch.testing.assert_close(sample["depth"], expected)


def test_splits_count_from_one(labeled):
    train, test = Nyu(labeled), Nyu(labeled, "test")
    assert train.names == ["0001", "0003", "0005"] and test.names == ["0002", "0004"]
    assert (train.expected, test.expected) == (795, 654)
    assert test.read(1)["depth"][0, 0, 0] == pytest.approx(9.03)


def test_depth_is_filled_or_raw(labeled):
    filled, raw = (Nyu(labeled, depths=depths).read(0)["depth"] for depths in ("filled", "raw"))
    assert not filled.isnan().any()
    assert raw[0, :60, :80].isnan().all() and raw.isnan().sum() == 60 * 80


def test_the_file_itself_may_be_given(labeled):
    source = Nyu(labeled / "nyu_depth_v2_labeled.mat")
    assert len(source) == 3


def test_another_process_opens_the_file_for_itself(labeled):
    source = Nyu(labeled)
    expected = source.read(0)
    again = pickle.loads(pickle.dumps(source))
    torch.testing.assert_close(again.read(0), expected, rtol=0, atol=0)


def test_folders_are_in_millimeters(folders):
    train, test = Nyu(folders), Nyu(folders, "test")
    assert len(train) == 4 and (train.expected, test.expected) == (24_231, 654)
    assert test.names[0] == "official_splits/test/bathroom/rgb_00000.jpg"
    depth = train.read(0)["depth"][0]
    assert depth[:60, :80].isnan().all()
    assert depth[-1].numpy() == pytest.approx(1.0) and depth[0, -1] == pytest.approx(9.0)


def test_lists_of_bts_are_read(folders, tmp_path):
    line = "/cafe_0001b/rgb_00001.jpg /cafe_0001b/sync_depth_00001.png 518.8579\n"
    (tmp_path / "train.txt").write_text(line)
    source = Nyu(folders, files=tmp_path / "train.txt")
    assert source.names == ["sync/cafe_0001b/rgb_00001.jpg"]


def test_the_border_is_kept_painted_or_cut(labeled):
    kept, black, cut = (Nyu(labeled, border=border).read(0) for border in ("keep", "black", "cut"))
    assert cut["image"].shape == (3, 427, 565) and cut["depth"].shape == (1, 427, 565)
    assert torch.equal(cut["image"], kept["image"][:, 45:472, 43:608])
    assert torch.equal(cut["depth"], kept["depth"][:, 45:472, 43:608])
    assert torch.equal(black["image"][:, 7:474, 7:632], kept["image"][:, 7:474, 7:632])
    assert black["image"].sum() == black["image"][:, 7:474, 7:632].sum()
    assert torch.equal(black["depth"], kept["depth"])


def test_an_image_without_depth_is_missing(tmp_path):
    folder = trees.nyu_folders(tmp_path)
    (folder / "sync/cafe_0001b/sync_depth_00000.png").unlink()
    source = Nyu(folder)
    assert len(source) == 3 and source.missing == ["sync/cafe_0001b/sync_depth_00000.png"]


def test_splits_that_are_missing_are_named(tmp_path):
    folder = trees.nyu_labeled(tmp_path, count=2, size=(8, 8))
    (folder / "splits.mat").rename(folder / "moved.mat")
    with pytest.raises(FileError, match=r"splits.mat: it says which image"):
        Nyu(folder)
    assert len(Nyu(folder, files=folder / "moved.mat")) == 1


def test_a_broken_file_is_named(tmp_path):
    folder = trees.nyu_labeled(tmp_path, count=2, size=(8, 8))
    (folder / "nyu_depth_v2_labeled.mat").write_bytes(b"no HDF5 at all")
    with pytest.raises(DataError, match=r"nyu_depth_v2_labeled.mat cannot be read"):
        Nyu(folder).read(0)


def test_splits_of_more_images_than_there_are_are_refused(tmp_path):
    folder = trees.nyu_labeled(tmp_path, count=4, size=(8, 8))
    trees.nyu_labeled(tmp_path / "fewer", count=2, size=(8, 8))
    with pytest.raises(DataError, match=r"cannot be read: .*range"):
        Nyu(tmp_path / "fewer", files=folder / "splits.mat").read(1)


def test_eight_bits_are_no_depth(tmp_path):
    folder = trees.nyu_folders(tmp_path)
    path = folder / "sync/basement_0001a/sync_depth_00000.png"
    trees.save(path, np.ones((480, 640), np.uint8))
    with pytest.raises(DataError, match=r"sync_depth_00000.png has 1 channels of 8 bits"):
        Nyu(folder).read(0)


def test_a_missing_package_is_one_line(labeled, monkeypatch):
    monkeypatch.setattr(nyu, "import_module", lambda name: (_ for _ in ()).throw(ImportError()))
    with pytest.raises(ConfigurationError, match=r"need scipy: pip install 'sgmim\[nyu\]'"):
        Nyu(labeled)


def test_nothing_is_said_to_be_nothing(tmp_path):
    with pytest.raises(DataError, match="no sample of NYU Depth V2's split 'train'"):
        Nyu(tmp_path)
    with pytest.raises(FileError, match=r"no file .*other.mat"):
        Nyu(tmp_path / "other.mat")
