"""KITTI: streets, with depth from a laser on the car's roof, up to 80 m.

Andreas Geiger et al.: Vision meets Robotics, 2013; ground truth of Jonas Uhrig et al., 2017,
https://arxiv.org/abs/1708.06500; split of David Eigen et al., 2014 (data/eigen.py).

    raw_data/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png
    data_depth_annotated/train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/...

is how GLPDepth has it. BTS and iDisc have "input" or nothing for the first folder of images,
"gt_depth" or nothing for that of ground truth, and no "train" and "val": all of that is found.
"""

import re
from collections.abc import Collection
from os.path import join
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data import eigen
from sgmim.data.datasets.base import MAX_PIXELS, Dataset, read_depth
from sgmim.data.decoding import image_size
from sgmim.data.geometry import Crop, cut
from sgmim.data.images import Sample
from sgmim.data.splits import Folder, Found, find_listed
from sgmim.errors import ConfigurationError, DataError

RAW = ("raw_data", "input", "raw", "")  # folders of days
ANNOTATED = tuple(  # folders of drives with ground truth; "train" and "val" are not Eigen's
    join(top, part)
    for top in ("data_depth_annotated", "gt_depth", "")
    for part in ("train", "val", "")
)
HEIGHT, WIDTH = 352, 1216  # pixels that the images of all days have
DRIVE = re.compile(r"\d{4}_\d\d_\d\d_drive_\d{4}")


class Kitti(Dataset):
    """KITTI: streets, with sparse depth in meters, in Eigen's split.

    Args:
        root: the folder with images and ground truth.
        split: "train" (23,158 frames of 33 drives), "test" (652 of 28), or "val", see `val_drives`.
        files: a list of one's own instead, 'IMAGE TRUTH' a line, as those of GLPDepth and BTS.
        val_drives: how many of the drives to train on are held out as "val", evenly spread. The
            papers hold out none: what they choose, they choose on the test frames.
        crop: "kb" is the part that all images have, 352 x 1216 at the bottom and in the middle, as
            in KITTI's own depth benchmark, BTS and GLPDepth; "none" is the whole image.

    "frame" (4,) is the height and width of the whole image, and where the crop begins, from above
    and from the left, in pixels.
    """

    title, benchmark, truth = "KITTI", "kitti", "depth"
    splits = ("train", "test")
    license = "CC BY-NC-SA 3.0: not for commercial use"
    origin = (
        "cvlibs.net/datasets/kitti: of 'raw data' the synced and rectified drives (the script "
        "raw_data_downloader there fetches all), of 'depth completion' the annotated depth maps"
    )

    def __init__(
        self,
        root: Path,
        split: str = "train",
        *,
        files: Path | None = None,
        val_drives: int = 0,
        crop: Literal["kb", "none"] = "kb",
    ):
        if split != "val":
            self.check_split(split)
        folder = Folder(root)
        expected = {"train": eigen.TRAINED, "test": eigen.TESTED}.get(split)
        if files:
            found = find_listed(folder, files, _days(*eigen.TRAIN), ANNOTATED)
        elif split == "test":
            found = _tested(folder)
        else:
            found, expected = _held_out(_trained(folder), split, val_drives)
        super().__init__(root, split, found, expected)
        self.crop, self.has = crop, {"image", "depth", "frame"}
        self.names = [_name(image) for image, _ in found.pairs]

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Dataset`. "image" (3, H, W), "depth" (1, H, W), "frame" (4,)."""
        needs = self.has if needs is None else needs
        sample = super().read(index, needs)
        size = next((value.shape[-2:] for value in sample.values()), None)
        height, width = size or image_size(self.path(index), MAX_PIXELS)
        top, left = self._corner(index, height, width)
        if self.crop == "kb":
            sample = cut(sample, Crop(top, left, HEIGHT, WIDTH), (HEIGHT, WIDTH))
        if "frame" in needs:
            sample["frame"] = torch.tensor([height, width, top, left], dtype=torch.float32)
        return sample

    def read_truth(self, index: int) -> Float[Tensor, "1 H W"]:
        return read_depth(self.truth_path(index), scale=256.0)

    def _corner(self, index: int, height: int, width: int) -> tuple[int, int]:
        if self.crop == "none":
            return 0, 0
        if height < HEIGHT or width < WIDTH:
            raise DataError(
                f"{self.path(index)} is {height} x {width} pixels, smaller than the part of "
                f"{HEIGHT} x {WIDTH} that all of KITTI's images have; ask for crop 'none'"
            )
        return height - HEIGHT, (width - WIDTH) // 2


def _trained(folder: Folder) -> Found:
    """Every frame with ground truth of the drives to train on: nobody needs a list of them."""
    found = Found()
    for drive in eigen.train_drives():
        truths = _truth_folder(folder, drive)
        frames = sorted(name for name in folder.names(truths) if name.endswith(".png"))
        if not frames:
            found.missing.append(f"{truths}/*.png")
        for name in frames:
            found.add(folder, _image(folder, drive, name[:-4]), f"{truths}/{name}")
    return found


def _tested(folder: Folder) -> Found:
    found = Found()
    for drive in eigen.TEST:
        for frame in eigen.test_frames(drive):
            if eigen.has_truth(drive, frame):
                name = f"{frame:010d}"
                truth = f"{_truth_folder(folder, drive)}/{name}.png"
                found.add(folder, _image(folder, drive, name), truth)
            else:
                found.without_truth += 1
    return found


def _held_out(found: Found, split: str, count: int) -> tuple[Found, int]:
    """The part of the frames to train on that a split has, and how many it should have.

    Raises:
        ConfigurationError: so many drives cannot be held out.
    """
    drives = eigen.train_drives()
    if not (split == "val") <= count < len(drives):
        raise ConfigurationError(
            f"val_drives says how many of the {len(drives)} drives to train on are held out as the "
            f"split 'val', and is not {count}"
        )
    held = {drives[(2 * i + 1) * len(drives) // (2 * count)] for i in range(count)}
    kept = [pair for pair in found.pairs if (_drive(pair[0]) in held) == (split == "val")]
    absent = eigen.TRAINED - len(found.pairs)  # of which drives is not known
    return Found(kept, found.missing, found.without_truth), len(kept) + absent


def _image(folder: Folder, drive: str, frame: str) -> str:
    """The path of a frame's image: a PNG, or a JPEG where somebody saved space."""
    inside, day = f"{drive}_sync/image_02/data", drive.partition("_drive")[0]
    images = folder.first(*(join(above, inside) for above in _days(day)))
    suffix = ".jpg" if f"{frame}.jpg" in folder.names(images) else ".png"
    return f"{images}/{frame}{suffix}"


def _days(*days: str) -> list[str]:
    """Where the folders of drives may be: in that of their day, or of all days together."""
    return [join(top, day) for top in RAW for day in (*days, "")]


def _truth_folder(folder: Folder, drive: str) -> str:
    inside = f"{drive}_sync/proj_depth/groundtruth/image_02"
    return folder.first(*(join(above, inside) for above in ANNOTATED))


def _drive(path: str) -> str:
    match = DRIVE.search(path)
    return match[0] if match else ""


def _name(path: str) -> str:
    """What a sample is called, in whatever layout: by its path from the drive on."""
    return path[path.find(f"{_drive(path)}_sync") :]
