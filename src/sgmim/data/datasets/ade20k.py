"""ADE20K: scenes of all kinds, with 150 classes.

Bolei Zhou et al.: Scene Parsing through ADE20K Dataset, 2017, https://arxiv.org/abs/1608.05442.

    ADEChallengeData2016/images/training/ADE_train_00000001.jpg
    ADEChallengeData2016/annotations/training/ADE_train_00000001.png     0 is no class
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data.datasets.base import Dataset, read_labels, to_classes
from sgmim.data.splits import Folder, Found

TOP = "ADEChallengeData2016"
FOLDERS = {"train": "training", "val": "validation"}
COUNTS = {"train": 20_210, "val": 2_000}


class Ade20k(Dataset):
    """ADE20K: scenes of all kinds, with 150 classes; label 0, other things, is no class.

    Args:
        root: the folder "ADEChallengeData2016", or the one it is in.
        split: "train" (20,210 images) or "val" (2,000), on which everybody reports.
    """

    title, benchmark, truth = "ADE20K", "ade20k", "classes"
    splits = ("train", "val")
    license = "BSD 3-Clause for the annotations; images are for research and teaching only"
    origin = "sceneparsing.csail.mit.edu: the data of 'scene parsing', ADEChallengeData2016 (1 GB)"

    def __init__(self, root: Path, split: str = "train"):
        self.check_split(split)
        folder, inside = Folder(root), FOLDERS[split]
        top = folder.first("images", f"{TOP}/images").removesuffix("images")
        images, truths = f"{top}images/{inside}", f"{top}annotations/{inside}"
        stems = {Path(name).stem for name in folder.names(images) if name.endswith(".jpg")}
        stems |= {Path(name).stem for name in folder.names(truths) if name.endswith(".png")}
        found = Found()
        for stem in sorted(stem for stem in stems if not stem.startswith(".")):
            found.add(folder, f"{images}/{stem}.jpg", f"{truths}/{stem}.png")
        super().__init__(root, split, found, COUNTS[split])
        self.classes = CLASSES

    def read_truth(self, index: int) -> Float[Tensor, "1 H W"]:
        """Class numbers from 0 (the label less 1), NaN where there is none: labels 0 and 255."""
        path = self.truth_path(index)
        return to_classes(read_labels(path), len(CLASSES), path, first=1, ignored=IGNORED)


IGNORED = torch.tensor([0, 255], dtype=torch.uint8)  # 255 stays what it is in mmsegmentation, too
CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain",
    "chair", "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field",
    "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing",
    "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand", "sink",
    "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs", "runway", "case",
    "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase", "blind",
    "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
    "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth",
    "television receiver", "airplane", "dirt track", "apparel", "pole", "land", "bannister",
    "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain",
    "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel", "basket",
    "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank",
    "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen",
    "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan",
    "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass",
    "clock", "flag",
)  # fmt: skip
