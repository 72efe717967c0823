"""NYU Depth V2: rooms, with depth from a Kinect, up to 10 m.

Nathan Silberman et al.: Indoor Segmentation and Support Inference from RGBD Images, 2012. Either

    nyu_depth_v2_labeled.mat  splits.mat                     1,449 images: 795 and 654

as the makers have it, or the folders of BTS, with depth in millimeters:

    sync/basement_0001a/rgb_00000.jpg  sync_depth_00000.png  24,231 of the raw videos, to train on
    official_splits/test/bathroom/rgb_00045.jpg  ...         the same 654
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sgmim.data.datasets.base import Dataset, read_depth
from sgmim.data.decoding import named
from sgmim.data.listing import files_below
from sgmim.data.splits import Folder, Found, find_listed
from sgmim.errors import ConfigurationError, FileError

LABELED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
FOLDERS = {"train": ("sync", "train"), "test": ("official_splits/test", "test")}
DEPTHS = ("sync_depth_", "depth_")
KEPT = (7, 474, 7, 632)  # rows and columns that GLPDepth's and BTS's test images keep
CUT = (45, 472, 43, 608)  # those of BTS's training images, of which nothing is blank


class Nyu(Dataset):
    """NYU Depth V2: rooms, with depth in meters.

    Args:
        root: the folder with the .mat files or with BTS's folders; or the .mat file.
        split: "train" (795 images, or BTS's 24,231) or "test" (654).
        files: of BTS's folders, a list 'IMAGE TRUTH' a line; else splits.mat, if it is elsewhere.
        depths: of the .mat, "filled" is depth whose holes were painted in, as MultiMAE has it,
            "raw" is what the sensor saw, as BTS and GLPDepth have it (and BTS's folders hold).
        border: images have a blank border: "keep" it; "black" paints it black, as GLPDepth's and
            BTS's test images are; "cut" takes rows 45 to 471, columns 43 to 607, as BTS trains.
    """

    title, benchmark, truth = "NYU Depth V2", "nyu", "depth"
    splits = ("train", "test")
    license = "none is stated: for research, with the makers' paper cited"
    origin = (
        "cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html: the labeled dataset (2.8 GB) and "
        "splits.mat of 'indoor segmentation'; the folders of 24,231 by BTS's instructions "
        "(cleinc/bts on GitHub)"
    )

    def __init__(
        self,
        root: Path,
        split: str = "train",
        *,
        files: Path | None = None,
        depths: Literal["filled", "raw"] = "filled",
        border: Literal["keep", "black", "cut"] = "keep",
    ):
        self.check_split(split)
        self.border, self.labeled = border, _labeled(root)
        if self.labeled:
            root, splits = self.labeled.parent, files or self.labeled.with_name(SPLITS)
            numbers = _numbers(splits, f"{split}Ndxs")
            found = Found([(f"{number:04d}", f"{number:04d}") for number in numbers])
            expected = {"train": 795, "test": 654}[split]
            self.file = Labeled(self.labeled, "depths" if depths == "filled" else "rawDepths")
        else:
            found = _pairs(Folder(root), split, files)
            expected = {"train": 24_231, "test": 654}[split]
        super().__init__(root, split, found, expected)

    def path(self, index: int) -> Path:
        return self.labeled or super().path(index)

    def read_image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        image = self.file.image(self._number(index)) if self.labeled else super().read_image(index)
        return self._bordered(image, 0)

    def read_truth(self, index: int) -> Float[Tensor, "1 H W"]:
        if self.labeled:
            depth = self.file.depth(self._number(index))
        else:
            depth = read_depth(self.truth_path(index), scale=1000.0)
        return self._bordered(depth, None)

    def _number(self, index: int) -> int:
        return int(self.names[index]) - 1  # MATLAB counts from 1

    def _bordered(self, value: Tensor, blank: int | None) -> Tensor:
        """An image with its border as asked for; of depth, which has none, a `blank` is None."""
        if self.border == "cut":
            top, bottom, left, right = CUT
            return value[:, top:bottom, left:right]
        if self.border == "black" and blank is not None:
            top, bottom, left, right = KEPT
            inside = value[:, top:bottom, left:right].clone()
            value = torch.full_like(value, blank)
            value[:, top:bottom, left:right] = inside
        return value


class Labeled:
    """The images and depths in nyu_depth_v2_labeled.mat: HDF5, in which every axis is reversed.

    It is opened by each process for itself: one handle shared by two reads what the other seeks.
    """

    def __init__(self, path: Path, depths: str):
        self.path, self.depths = path, depths
        self._opened: tuple[int, Any] = (0, None)

    def image(self, number: int) -> UInt8[Tensor, "3 H W"]:
        return self._item("images", number, np.uint8)

    def depth(self, number: int) -> Float[Tensor, "1 H W"]:
        depth = self._item(self.depths, number, np.float32)[None]
        return depth.masked_fill(depth <= 0, torch.nan)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": (0, None)}

    def _item(self, name: str, number: int, kind: type) -> Tensor:
        """An image (c, H, W) or a map (H, W), which is kept as (c, W, H) or (W, H)."""
        with named(self.path):
            values: np.ndarray = np.asarray(self._file()[name][number])
            values = values.astype(kind, casting="same_kind")
            return torch.from_numpy(np.ascontiguousarray(values.swapaxes(-1, -2)))

    def _file(self) -> Any:
        process, file = self._opened
        if process != os.getpid():
            file = _extra("h5py").File(self.path, "r")
            self._opened = os.getpid(), file
        return file


def _labeled(root: Path) -> Path | None:
    """The .mat file that a path is or holds, if any."""
    if root.suffix == ".mat":
        if not root.is_file():
            raise FileError(f"there is no file {root}")
        return root
    return root / LABELED if (root / LABELED).is_file() else None


def _numbers(path: Path, name: str) -> list[int]:
    """The images of a split, counted from 1, in order."""
    if not path.is_file():
        raise FileError(f"there is no {path}: it says which image is of which split")
    loadmat = _extra("scipy.io").loadmat
    with named(path):
        return sorted(int(number) for number in loadmat(path)[name].ravel())


def _pairs(folder: Folder, split: str, files: Path | None) -> Found:
    """The samples of BTS's folders."""
    tops = (*FOLDERS[split], "")
    if files:
        return find_listed(folder, files, tops, tops)
    found, top = Found(), folder.first(*FOLDERS[split])
    images = files_below(folder.root, {".jpg", ".png"}, f"{top}/") if folder.names(top) else ()
    for image in sorted(images):
        inside, name = os.path.split(image)
        if name.startswith("rgb_"):
            number = os.path.splitext(name.removeprefix("rgb_"))[0]
            truths = [f"{inside}/{depth}{number}.png" for depth in DEPTHS]
            found.add(folder, image, next(filter(folder.has, truths), truths[0]))
    return found


def _extra(package: str) -> Any:
    """A package of the extra 'nyu'."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"the .mat files of NYU Depth V2 need {package.partition('.')[0]}: "
            f"pip install 'sgmim[nyu]'"
        ) from error
