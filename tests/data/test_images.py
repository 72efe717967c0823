import csv
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data import images as module
from sgmim.data.images import Images
from sgmim.data.png import encode_png
from sgmim.data.stored import NOTE
from sgmim.errors import ConfigurationError, DataError, FileError

HEIGHT, WIDTH = 12, 16


def save(path, height=HEIGHT, width=WIDTH, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = sum(map(ord, path.stem)) % 256
    Image.new("RGB", (width, height), (shade, 0, 0)).save(path, **options)


def save_map(path, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(height * width, dtype=np.uint16).reshape(1, height, width) * 300
    if path.suffix == ".npy":
        np.save(path, numbers / 65536)
    elif path.suffix == ".png":
        path.write_bytes(encode_png(numbers))
    else:
        Image.fromarray(numbers[0]).save(path, "JPEG2000")


@pytest.fixture
def photos(tmp_path):
    for name in ("b.PNG", "a.jpg", "summer/lake.JPEG", "summer/deep/a.b.webp"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "._a.jpg").write_text("what macOS leaves behind")
    return tmp_path / "photos"


@pytest.fixture
def depth(tmp_path, photos):
    for name in ("b.npy", "a.png", "summer/lake.JPX", "summer/deep/a.b.png"):
        save_map(tmp_path / "depth" / name)
    return tmp_path / "depth"


NAMES = ["a.jpg", "b.PNG", "summer/deep/a.b.webp", "summer/lake.JPEG"]


def test_images_are_found_at_any_depth_and_in_order(photos):
    source = Images(photos)
    assert source.names == NAMES and len(source) == 4 and source.has == {"image"}
    assert source.read(0)["image"].shape == (3, HEIGHT, WIDTH)


def test_folders_may_be_linked_even_in_circles(tmp_path, photos):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to(photos, target_is_directory=True)
    (photos / "summer" / "again").symlink_to(tmp_path / "links", target_is_directory=True)
    assert Images(tmp_path / "links").names == [f"one/{name}" for name in NAMES]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_a_list_is_as_good_as_a_folder(tmp_path, photos, depth, suffix, absolute):
    listed = ["summer/lake.JPEG", "b.PNG"]
    path = photos / f"list{suffix}"
    lines = [str(photos / name) if absolute else name for name in listed]
    if suffix == ".txt":
        path.write_text("\n".join(lines) + "\n\n")
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["path", "class"], *([line, 3] for line in lines)])
    source = Images(path, {"depth": depth})
    assert source.names == listed
    theirs = Images(photos, {"depth": depth}).read(3)
    assert all(torch.equal(value, theirs[name]) for name, value in source.read(0).items())


def test_a_list_may_lie_elsewhere(tmp_path, photos, depth):
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "some.txt"
    path.write_text("../photos/a.jpg\n../photos/summer/lake.JPEG\n")
    with pytest.raises(DataError, match=r"line 1 of .* leads out of .*photos/a\.jpg.*'root'"):
        Images(path)
    for root in (photos, tmp_path / "lists" / ".." / "photos"):
        source = Images(path, {"depth": depth}, root=root)
        assert source.names == ["a.jpg", "summer/lake.JPEG"]
        assert source.read(1)["depth"].shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 17\n", "line 1 of .*'a.jpg 17'"),
        ("a.jpg\nfolder\n", "line 2 .*'folder'"),
        ("a.jpg\na.jpg\n", "both a.jpg and a.jpg"),
        ("a.jpg\ngone.jpg\n", "there is no file .*gone.jpg"),
        ("\n\n", "no image in"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(photos, text, message):
    (photos / "list.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Images(photos / "list.txt")


def test_a_list_that_is_no_text_is_named(photos):
    (photos / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list\.txt cannot be read"):
        Images(photos / "list.txt")


def test_a_folder_that_is_missing_is_a_file_error(photos):
    with pytest.raises(FileError, match="gone"):
        Images(photos / "gone")
    with pytest.raises(FileError, match="gone"):
        Images(photos, {"depth": photos / "gone"})


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no image in .*jpg"):
        Images(tmp_path)


def test_a_file_that_is_no_list_is_refused(photos):
    (photos / "list.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="neither a folder of images, nor an image, nor"):
        Images(photos / "list.json")


def test_one_image_is_a_source_of_itself(photos):
    one = Images(photos / "a.jpg")
    assert list(one.names) == ["a.jpg"] and one.read(0)["image"].ndim == 3


def test_two_images_must_differ_in_more_than_the_suffix(photos):
    save(photos / "summer" / "lake.png")
    with pytest.raises(DataError, match=r"both summer/lake\.JPEG and summer/lake\.png"):
        Images(photos)


def test_maps_are_found_by_name_whatever_their_format(photos, depth):
    source = Images(photos, {"depth": depth})
    assert source.has == {"image", "depth"}
    truth = torch.arange(HEIGHT * WIDTH).view(1, HEIGHT, WIDTH) * 300 / 65536
    for index in range(4):
        assert torch.equal(source.read(index)["depth"], truth)


def test_only_what_is_needed_is_read(photos, depth):
    source = Images(photos, {"depth": depth})
    (depth / "a.png").write_text("broken")
    assert set(source.read(0, ["image"])) == {"image"}
    assert set(source.read(1, {"depth"})) == {"depth"}
    with pytest.raises(DataError, match=r"a\.png"):
        source.read(0)


def test_missing_maps_are_named_before_the_first_step(photos, depth):
    (depth / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 4 images have no depth map .*: a; make maps"):
        Images(photos, {"depth": depth})


def test_two_maps_of_one_name_are_refused(photos, depth):
    save_map(depth / "a.npy")
    with pytest.raises(DataError, match="two depth maps have one name"):
        Images(photos, {"depth": depth})


def test_a_map_of_another_size_is_named_before_the_first_step(photos, depth):
    save_map(depth / "a.png", WIDTH, HEIGHT)
    with pytest.raises(DataError, match=r"a\.jpg.*image 12 x 16, depth 16 x 12"):
        Images(photos, {"depth": depth})


def test_of_many_images_some_are_compared_now_and_the_rest_when_read(photos, depth, monkeypatch):
    monkeypatch.setattr(module, "CHECKED", 2)  # of the four, numbers 0 and 2
    save_map(depth / "b.npy", WIDTH, HEIGHT)
    source = Images(photos, {"depth": depth})
    with pytest.raises(DataError, match=r"b\.PNG.*depth 16 x 12"):
        source.read(1)


def test_a_map_lies_on_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photos" / "a.jpg", HEIGHT, WIDTH, exif=exif)
    save_map(tmp_path / "depth" / "a.png", WIDTH, HEIGHT)
    sample = Images(tmp_path / "photos", {"depth": tmp_path / "depth"}).read(0)
    assert sample["image"].shape == (3, WIDTH, HEIGHT)
    assert sample["depth"].shape == (1, WIDTH, HEIGHT)


def test_scale_and_hole_come_from_the_note(photos, depth):
    (depth / "b.npy").unlink()
    save_map(depth / "b.png")
    (depth / NOTE).write_text('{"scale": 300, "low": 2, "hole": 600}')
    ours = Images(photos, {"depth": depth}).read(1)["depth"].flatten()
    assert ours[:5].nan_to_num(-1).tolist() == [2, 3, -1, 5, 6]


def test_scale_and_hole_may_be_given_where_no_note_is(photos, depth):
    source = Images(photos, {"depth": depth}, scale={"depth": 300.0}, hole={"depth": 600.0})
    assert source.read(0)["depth"].flatten()[:5].nan_to_num(-1).tolist() == [0, 1, -1, 3, 4]


def test_a_scale_that_contradicts_the_note_is_refused(photos, depth):
    (depth / NOTE).write_text('{"scale": 300}')
    with pytest.raises(ConfigurationError, match=r"scale=256.0 was given, but .* says 300"):
        Images(photos, {"depth": depth}, scale={"depth": 256.0}, hole={"depth": 0.0})


def test_a_scale_for_a_map_that_is_not_there_is_refused(photos, depth):
    with pytest.raises(ConfigurationError, match=r"no map 'detph'.*'depth'"):
        Images(photos, {"depth": depth}, scale={"detph": 256.0})


def test_classes_are_not_divided(photos, tmp_path):
    for name in NAMES:
        path = (tmp_path / "classes" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH), 150, np.uint8)).save(path)
    sample = Images(photos, {"classes": tmp_path / "classes"}).read(0)
    assert sample["classes"].unique().tolist() == [150]


def test_it_travels_to_other_processes(photos, depth):
    source = pickle.loads(pickle.dumps(Images(photos, {"depth": depth})))
    assert source.names == NAMES and source.read(3)["depth"].shape == (1, HEIGHT, WIDTH)
