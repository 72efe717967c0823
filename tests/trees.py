"""Tiny datasets in the formats of the real ones: a few files each, of known content."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from sgmim.data import eigen
from sgmim.data.png import encode_png

KITTI_SIZE = {  # by day, as the real ones
    "2011_09_26": (375, 1242), "2011_09_28": (370, 1224), "2011_09_29": (374, 1238),
    "2011_09_30": (370, 1226), "2011_10_03": (376, 1241),
}  # fmt: skip
CAMVID = """
name: CamVid
license: for research
origin: somewhere
images: "{split}/images"
labels: {folder: "{split}/labels", ignore: [11]}
classes: [Sky, Building, Pole, Road, Pavement, Tree, SignSymbol, Fence, Car, Pedestrian, Bicyclist]
splits: {train: {count: 3}, val: {count: 2}}
"""
SENSOR = """
name: a sensor
images: rgb
depth: {folder: depth, scale: 1000}
splits: {train: {part: [0, 0.5], count: 2}, test: {part: [0.5, 1.0], count: 2}}
"""


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> None:
    """8-bit pixels as an image; 16-bit ones (H, W) as a PNG of that many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.dtype == np.uint16:
        path.write_bytes(encode_png(pixels[None]))
    else:
        Image.fromarray(pixels, mode=mode).save(path, **options)


def colored(height: int, width: int, number: int = 0) -> np.ndarray:
    """A picture (H, W, 3) that is red at the top left, and differs by number."""
    down, across = np.mgrid[:height, :width]
    wave = 40 * np.sin(down / 7 + number) + 40 * np.sin(across / 11) + 120
    picture = np.stack([wave, 255 - wave, np.full_like(wave, 9 * number % 256)], -1)
    picture[: height // 8, : width // 8] = (255, 0, 0)
    return picture.astype(np.uint8)


def ramp(height: int, width: int, near: float = 2.0, far: float = 60.0) -> np.ndarray:
    """Depth (H, W) in meters: far at the top, near at the bottom."""
    return np.linspace(far, near, height)[:, None].repeat(width, 1)


def kitti(
    root: Path,
    layout: str = "A",
    *,
    train: dict[str, list[int]] | None = None,
    test: dict[str, list[int]] | None = None,
    suffix: str = ".png",
    size: tuple[int, int] | None = None,
) -> Path:
    """KITTI as its archives unpack (layout A) or as BTS has it (B): drives with frames, which are
    [5, 6] of two drives to train on, and the first two with ground truth of two to test on. In a
    `size` other than that of their days they take less time, and no crop."""
    train = train or {"2011_09_26_drive_0001": [5, 6], "2011_09_28_drive_0001": [5, 6]}
    tested = ("2011_09_26_drive_0002", "2011_09_30_drive_0016")
    test = test or {drive: _with_truth(drive)[:2] for drive in tested}
    raw, truths = (
        ("raw_data", "data_depth_annotated/train/") if layout == "A" else ("", "gt_depth/")
    )
    for drive, frames in (train | test).items():
        day = drive[:10]
        height, width = size or KITTI_SIZE[day]
        depth = np.zeros((height, width))
        depth[::4, ::3] = ramp(height, width)[::4, ::3]  # as sparse as a laser's
        for frame in frames:
            name = f"{frame:010d}"
            image = root / raw / day / f"{drive}_sync/image_02/data/{name}{suffix}"
            save(image, colored(height, width, frame), compress_level=1)
            truth = root / f"{truths}{drive}_sync/proj_depth/groundtruth/image_02/{name}.png"
            save(truth, (depth * 256).astype(np.uint16))
    return root


def _with_truth(drive: str) -> list[int]:
    return [frame for frame in eigen.test_frames(drive) if eigen.has_truth(drive, frame)]


def nyu_labeled(root: Path, count: int = 6, size: tuple[int, int] = (480, 640)) -> Path:
    """NYU's .mat: HDF5 with every axis reversed, and splits.mat that counts from 1: the odd images
    are to train on. Depth is a ramp, and has a hole at the top left where it was not filled."""
    import h5py
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    height, width = size
    images = np.stack([colored(height, width, number) for number in range(count)])
    depths = np.stack([ramp(height, width, 1, 9) + 0.01 * number for number in range(count)])
    raw = depths.copy()
    raw[:, : height // 8, : width // 8] = 0
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"] = depths.transpose(0, 2, 1).astype(np.float32)
        file["rawDepths"] = raw.transpose(0, 2, 1).astype(np.float32)
    numbers = np.arange(1, count + 1, dtype=np.uint16)[:, None]
    savemat(root / "splits.mat", {"trainNdxs": numbers[::2], "testNdxs": numbers[1::2]})
    return root


def nyu_folders(root: Path, count: int = 2, size: tuple[int, int] = (480, 640)) -> Path:
    """NYU as BTS has it: images of scenes, depth in millimeters, with a hole at the top left."""
    height, width = size
    depth = ramp(height, width, 1, 9)
    depth[: height // 8, : width // 8] = 0
    for top in ("sync/basement_0001a", "sync/cafe_0001b", "official_splits/test/bathroom"):
        for number in range(count):
            save(root / top / f"rgb_{number:05d}.jpg", colored(height, width, number))
            save(root / top / f"sync_depth_{number:05d}.png", (1000 * depth).astype(np.uint16))
    return root


def ade20k(root: Path, train: int = 4, val: int = 2, size: tuple[int, int] = (48, 64)) -> Path:
    """ADE20K: the second image is grey, the third is of four inks; labels 0 to 150 in rows."""
    height, width = size
    labels = np.arange(height * width).reshape(size) * 151 // (height * width)
    for name, split, count in (("train", "training", train), ("val", "validation", val)):
        for number in range(1, count + 1):
            stem = f"ADE_{name}_{number:08d}"
            picture = Image.fromarray(colored(height, width, number))
            mode = {2: "L", 3: "CMYK"}.get(number, "RGB")
            path = root / "ADEChallengeData2016/images" / split / f"{stem}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.convert(mode).save(path, quality=95)
            truth = root / "ADEChallengeData2016/annotations" / split / f"{stem}.png"
            save(truth, labels.astype(np.uint8))
    return root


def camvid(root: Path, size: tuple[int, int] = (48, 64)) -> Path:
    """CamVid in folders, and its description beside them: returns the file camvid.yaml."""
    height, width = size
    labels = np.arange(width)[None].repeat(height, 0) * 12 // width  # 11 is no class
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            save(root / split / "images" / f"{number:04d}.jpg", colored(height, width, number))
            save(root / split / "labels" / f"{number:04d}.png", labels.astype(np.uint8))
    (root / "camvid.yaml").write_text(CAMVID)
    return root / "camvid.yaml"


def sensor(root: Path, size: tuple[int, int] = (48, 64)) -> Path:
    """Four images with depth in millimeters, and their description: returns its file."""
    height, width = size
    depth = ramp(height, width, 0.5, 8)
    depth[:, : width // 8] = 0
    for number in range(4):
        save(root / "rgb" / f"{number:04d}.jpg", colored(height, width, number))
        save(root / "depth" / f"{number:04d}.png", (1000 * depth).astype(np.uint16))
    (root / "sensor.yaml").write_text(SENSOR)
    return root / "sensor.yaml"


def in_folders(root: Path, *, size: tuple[int, int] = (20, 24), **counts: int) -> Path:
    """Pictures in a folder a class: in_folders(root, cat=3, dog=2)."""
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            save(root / name / f"{number:04d}.jpg", colored(*size, 10 * place + number))
    return root


def imagenet(root: Path, flat: bool = False, inside: str = "ILSVRC/Data/CLS-LOC") -> Path:
    """ImageNet of three classes: tench, goldfish, great white shark; `flat` has val/ so."""
    wnids = ("n01440764", "n01443537", "n01484850")
    for place, wnid in enumerate(wnids):
        for number in range(3 - place):
            save(root / inside / "train" / wnid / f"{wnid}_{number}.JPEG", colored(16, 20, number))
        name = f"ILSVRC2012_val_{3 - place:08d}.JPEG"  # the other way round
        folder = root / inside / "val" / ("" if flat else wnid)
        save(folder / name, colored(16, 20, place))
    return root


def cifar_binary(root: Path, coarse: bool = False) -> dict[str, tuple[np.ndarray, list[int]]]:
    """CIFAR in its binary version, three pictures a file; returns the pixels and labels."""
    dice, told = np.random.default_rng(0), {}
    batches = [f"data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)]
    names = ["train.bin", "test.bin"] if coarse else [*batches, "test_batch.bin"]
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = dice.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
        labels = dice.integers(0, 10, 3, dtype=np.uint8)
        before = [np.full(3, 7, np.uint8), labels] if coarse else [labels]
        records = np.concatenate([np.stack(before, 1), pixels.reshape(3, -1)], axis=1)
        (root / name).write_bytes(records.tobytes())
        told[name] = pixels, labels.tolist()
    return told


def packed_pictures(path: Path, labels: list[int]) -> Path:
    """Pictures of 32 x 32 in a file of numpy's, as data/cifar.py reads them."""
    files = []
    for number in range(len(labels)):
        with BytesIO() as file:
            Image.fromarray(colored(32, 32, number)).save(file, "PNG")
            files.append(np.frombuffer(file.getvalue(), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(path, bytes=np.concatenate(files), offsets=offsets, labels=np.array(labels))
    return path
