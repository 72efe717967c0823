import threading
import time
from multiprocessing import get_context

import pytest
import torch

from packs import COUNT, packed, photos
from sgmim.data import places
from sgmim.data.shards import Shards
from sgmim.errors import ConfigurationError, DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return packed(photos(tmp_path_factory.mktemp("data"), 20), samples=1)


def kept(cache):
    """Names and sizes of what is in a cache."""
    return {p.name: p.stat().st_size for p in cache.iterdir() if p.suffix != ".lock"}


@pytest.fixture
def most(folder):
    """Room for the index and about six of the forty files."""
    return (folder / "index.bin").stat().st_size + 6 * 10240 + 4000


def remote(folder, cache, most=10**9):
    return Shards(f"file://{folder}", cache=cache, cache_gb=most / 1e9)


def test_data_at_a_url_is_that_of_the_folder(folder, tmp_path):
    ours, theirs = remote(folder, tmp_path), Shards(folder)
    assert list(ours.names) == list(theirs.names)
    for index in (3, 0, 19):
        assert torch.equal(ours.read(index)["image"], theirs.read(index)["image"])
    assert len(kept(tmp_path)) == 1 + 2 * 3


def test_any_file_system_that_fsspec_knows_will_do(folder, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/packed", recursive=True)
    shards = Shards("memory://bucket/packed", cache=tmp_path)
    assert torch.equal(shards.read(4)["image"], Shards(folder).read(4)["image"])
    memory.rm("/bucket", recursive=True)
    assert torch.equal(shards.read(4)["image"], Shards(folder).read(4)["image"])
    with pytest.raises(DataError, match=r"memory://bucket/packed/image/00005\.tar, sample 5"):
        shards.read(5)


def test_a_cache_never_holds_more_than_it_may(folder, tmp_path, most):
    shards = remote(folder, tmp_path, most)
    for index in range(20):
        shards.read(index)
        assert sum(kept(tmp_path).values()) <= most
    last = {name.partition("image-")[2] for name in kept(tmp_path) if "image-" in name}
    assert last == {"00017.tar", "00018.tar", "00019.tar"}


def test_what_was_used_last_is_dropped_last(folder, tmp_path, most):
    shards = remote(folder, tmp_path, most)
    for index in (0, 1, 2, 0, 3, 0, 4):
        shards.read(index, ["image"])
        time.sleep(0.01)
    for index in range(5, 10):
        shards.read(index, ["image"])
        shards.read(0, ["image"])
    assert any("image-00000" in name for name in kept(tmp_path))


def reader(folder, cache, most, seed):
    shards = remote(folder, cache, most)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed)).tolist()
    for index in order:
        shards.read(index)


def test_processes_share_a_cache(folder, tmp_path, most):
    context, over, done = get_context("fork"), [], threading.Event()

    def watch():
        while not done.wait(0.001):
            try:
                over.append(sum(kept(tmp_path).values()) > most)
            except FileNotFoundError:
                continue

    tmp_path.mkdir(exist_ok=True)
    processes = [context.Process(target=reader, args=(folder, tmp_path, most, n)) for n in range(3)]
    for process in processes:
        process.start()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for process in processes:
        process.join(60)
    done.set()
    watcher.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert over and not any(over)


def test_what_a_killed_process_left_behind_makes_room(folder, tmp_path, most):
    remote(folder, tmp_path, most).read(0)
    left = tmp_path / ".left.partial"
    with open(left, "wb") as file:
        file.truncate(most)
    remote(folder, tmp_path, most).read(1)
    assert not left.exists()


def test_a_download_that_is_not_what_was_packed_is_not_kept(tmp_path):
    out = packed(photos(tmp_path))
    path = out / "image" / "00000.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    shards = remote(out, tmp_path / "cache")
    with pytest.raises(DataError, match=r"image/00000\.tar has .* it was packed with"):
        shards.read(0)
    assert not any("image" in name for name in kept(tmp_path / "cache"))


def test_a_copy_that_rots_is_fetched_again(folder, tmp_path):
    shards = remote(folder, tmp_path)
    whole = shards.read(3)["image"]
    (copy,) = tmp_path.glob("*-image-00003.tar")
    content = bytearray(copy.read_bytes())
    content[shards.index.member(3, 0).offset + 9] ^= 1
    copy.write_bytes(content)
    with pytest.raises(DataError, match="CRC32C"):
        shards.read(3)
    assert torch.equal(shards.read(3)["image"], whole)


def test_a_cache_that_is_too_small_for_a_shard_is_refused(folder, tmp_path):
    for name, most in (("index.bin", 1000), (".tar", 9000)):
        with pytest.raises(ConfigurationError, match=f"{name} alone has .* cannot hold it"):
            remote(folder, tmp_path, most)


def test_a_protocol_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="gopher"):
        Shards("gopher://packed", cache=tmp_path)


def test_few_files_are_kept_open(folder):
    places._kept_open.cache_clear()
    shards = Shards(folder)
    for index in range(20):
        shards.read(index)
    info = places._kept_open.cache_info()
    assert info.currsize == 40 and info.maxsize == 128 and COUNT < 40
