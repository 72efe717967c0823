"""ImageNet-1K: 1.28 million photographs of 1,000 classes.

Olga Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge, 2015,
https://arxiv.org/abs/1409.0575.

    ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG    as Kaggle has it; or right below
    ILSVRC/Data/CLS-LOC/val/n01440764/ILSVRC2012_val_00000293.JPEG
    ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000293.JPEG        with a list, which says the class:
    LOC_val_solution.csv                                        Kaggle's, or
    val.txt                                                     "ILSVRC2012_val_00000293.JPEG 0"
"""

import re
from pathlib import Path

import numpy as np
from timm.data import ImageNetInfo

from sgmim.data.classes import by_folder
from sgmim.data.classified import Classified
from sgmim.data.decoding import SUFFIXES, named
from sgmim.data.listing import files_below
from sgmim.data.names import Names
from sgmim.data.splits import Folder
from sgmim.errors import DataError

INSIDE = "ILSVRC/Data/CLS-LOC"
LISTS = ("val.txt", "LOC_val_solution.csv")
COUNTS = {"train": 1_281_167, "val": 50_000}


class ImageNet(Classified):
    """ImageNet-1K: 1.28 million photographs of 1,000 classes; or some of its classes.

    Args:
        root: the folder with train/ and val/, or one with ILSVRC/Data/CLS-LOC in it.
        split: "train" (1,281,167 images) or "val" (50,000), on which everybody reports.
    """

    title, benchmark = "ImageNet-1K", "imagenet"
    splits = ("train", "val")
    license = "for non-commercial research and education; nobody has the right to all the images"
    origin = (
        "image-net.org (ILSVRC2012: 138 and 6.3 GB, after registration); "
        "or kaggle.com/c/imagenet-object-localization-challenge"
    )

    def __init__(self, root: Path, split: str = "train"):
        self.check_split(split)
        folder = Folder(root)
        top = folder.first(split, f"{INSIDE}/{split}", f"Data/CLS-LOC/{split}").removesuffix(split)
        images = sorted(files_below(root / top / split, SUFFIXES))
        if not images:
            raise DataError(f"there is no image in {root / top / split}")
        if "/" in images[0]:
            labels, wnids = by_folder(images)
        else:
            trained = sorted(name for name in folder.names(f"{top}train") if is_wnid(name))
            wnids = tuple(trained or ImageNetInfo().label_names())
            labels = _listed(_list_of(folder, top), images, wnids)
        names = Names.of(f"{top}{split}/{name}" for name in images)
        super().__init__(root, split, names, labels, described(wnids), COUNTS[split])


def is_wnid(name: str) -> bool:
    """Whether a folder is called as WordNet numbers its nouns."""
    return re.fullmatch(r"n\d{8}", name) is not None


def described(wnids: tuple[str, ...]) -> tuple[str, ...]:
    """What classes are called by people, where each is one of ImageNet's; else as they are."""
    known = ImageNetInfo()
    names = dict(zip(known.label_names(), known.label_descriptions(), strict=True))
    return tuple(names.get(wnid, wnid).partition(",")[0] for wnid in wnids)


def _list_of(folder: Folder, top: str) -> Path:
    """The list that says which class the images of a flat folder val/ have."""
    places = [f"{above}{name}" for above in ("", top, f"{top}val/") for name in LISTS]
    found = next((place for place in places if folder.has(place)), None)
    if found is None:
        raise DataError(
            f"the images in {folder.root / top / 'val'} are in no folders of their classes, and no "
            f"{' or '.join(LISTS)} in {folder.root} says which they have: fetch one, whose lines "
            f"are 'ILSVRC2012_val_00000293.JPEG 0' (a number from 0, or n01440764), or move every "
            f"image to val/n01440764/ (valprep.sh of soumith/imagenetloader.torch does so)"
        )
    return folder.root / found


def _listed(path: Path, images: list[str], wnids: tuple[str, ...]) -> np.ndarray:
    """The class of each image as a list has it: by a number, or by the name of its folder."""
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    known: dict[str, str] = {}
    with named(path):
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            image, told, *_ = [*line.replace(",", " ").split(), "", ""]
            known[Path(image).stem] = told
    found = np.empty(len(images), np.int32)
    for place, image in enumerate(images):
        told = known.get(Path(image).stem, "")
        if told not in numbers and not told.isdecimal():
            raise DataError(f"{path} says of {image} that its class is {told!r}, which is none")
        found[place] = numbers[told] if told in numbers else int(told)
    return found
