"""Eigen's split of KITTI, as indices of our own: drives to train on, frames to test on.

David Eigen, Christian Puhrsch and Rob Fergus: Depth Map Prediction from a Single Image using a
Multi-Scale Deep Network, 2014, https://arxiv.org/abs/1406.2283; with the denser ground truth of
Jonas Uhrig et al.: Sparsity Invariant CNNs, 2017, https://arxiv.org/abs/1708.06500.

Frames are those of the left color camera. The published lists of BTS, GLPDepth, iDisc and
MIM-Depth-Estimation are the same sets in other orders.
"""

TRAINED = 23_158  # frames of the training drives that have ground truth, all of them used
TESTED = 652  # of 697 frames: of 45 there is no ground truth

TRAIN = {  # a day, and its drives: every frame that has ground truth
    "2011_09_26": (
        "0001 0005 0011 0014 0015 0017 0018 0019 0022 0028 0032 0035 0039 0051 0057 0060 0061 0070 "
        "0079 0087 0091 0095 0104 0113"
    ),
    "2011_09_28": "0001",
    "2011_09_29": "0004 0026",
    "2011_09_30": "0020 0028 0033 0034",
    "2011_10_03": "0034 0042",
}

TEST = {  # first-last/step; without a step every frame
    "2011_09_26_drive_0002": "0-63/3 69-75/3",
    "2011_09_26_drive_0009": "0-176/16 196-388/16",
    "2011_09_26_drive_0013": "0-10/5 20 30-50/5 60-70/5 80-140/5",
    "2011_09_26_drive_0020": "0-21/3 27 33 36 42-78/3 84",
    "2011_09_26_drive_0023": "18-216/18 252-468/18",
    "2011_09_26_drive_0027": "0-98/7 112-147/7 161-182/7",
    "2011_09_26_drive_0029": "0-196/14 268 296-408/14",
    "2011_09_26_drive_0036": "0-704/32 768 800",
    "2011_09_26_drive_0046": "0-120/5",
    "2011_09_26_drive_0048": "0-21",
    "2011_09_26_drive_0052": "0-22/2 26-32/2 36-52/2",
    "2011_09_26_drive_0056": "11-121/11 143-286/11",
    "2011_09_26_drive_0059": "0-154/14 182-238/14 274-372/14",
    "2011_09_26_drive_0064": "0-110/22 154-550/22",
    "2011_09_26_drive_0084": "49-153/13 179-374/13",
    "2011_09_26_drive_0086": "7-520/27 574-682/27",
    "2011_09_26_drive_0093": "0-256/16 305-417/16",
    "2011_09_26_drive_0096": "0-456/19",
    "2011_09_26_drive_0101": "80-216/34 284-930/34",
    "2011_09_26_drive_0106": "15 35-219/8",
    "2011_09_26_drive_0117": "0 26-494/26 546-650/26",
    "2011_09_28_drive_0002": "0-12/3 18-24/3 30-39/3 45-63/3 72 78-90/3",
    "2011_09_29_drive_0071": "0-612/36 735-807/36 879-951/36 1054",
    "2011_09_30_drive_0016": "0-88/11 110-275/11",
    "2011_09_30_drive_0018": "0-214/107 428-2247/107 2419-2740/107",
    "2011_09_30_drive_0027": "0-656/41 753-958/41 1040 1081",
    "2011_10_03_drive_0027": "0-543/181 734-2001/181 2363-4535/181",
    "2011_10_03_drive_0047": "0-224/32 288-800/32",
}

# Ground truth gathers the laser's points of eleven frames, so a drive's first five and last five
# have none: these are of the last.
ENDS = {
    "2011_09_26_drive_0002": "72 75",
    "2011_09_26_drive_0013": "140",
    "2011_09_26_drive_0020": "84",
    "2011_09_26_drive_0036": "800",
    "2011_09_26_drive_0046": "120",
    "2011_09_26_drive_0048": "17-21",
    "2011_09_26_drive_0059": "372",
    "2011_09_29_drive_0071": "1054",
    "2011_09_30_drive_0016": "275",
}


def train_drives() -> list[str]:
    """The 33 drives to train on, as "2011_09_26_drive_0001"."""
    return [f"{day}_drive_{number}" for day in TRAIN for number in TRAIN[day].split()]


def test_frames(drive: str) -> list[int]:
    """The frames of a drive to test on, with ground truth or without."""
    return _frames(TEST[drive])


def has_truth(drive: str, frame: int) -> bool:
    """Whether a frame to test on has ground truth."""
    return frame >= 5 and frame not in _frames(ENDS.get(drive, ""))


def _frames(text: str) -> list[int]:
    found: list[int] = []
    for word in text.split():
        span, _, step = word.partition("/")
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found
