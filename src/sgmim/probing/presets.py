"""Linear probes as papers have them."""

from typing import Any

# Options of 'sgmim probe linear', by the preset of features.reading. What both leave out is the
# augmentation of images: features are computed once, of each image as it is tested.
PRESETS: dict[str, dict[str, Any]] = {
    # He et al., 2022, appendix A.1, table 10, and main_linprobe.py: resized to 256, center of 224
    "mae": {
        "features.share": 0.875,
        "linear.optimizer": "lars",
        "linear.normalize": True,
        "linear.weight_decay": 0.0,
        "linear.rates": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        "linear.epochs": 90,
        "linear.warmup_epochs": 10,
        "linear.batch": 16384,
    },
    # madhava20217/KAMIM: the whole image, resized; its rate of 5e-3 is in the middle of the grid
    "kamim": {
        "features.share": None,
        "linear.optimizer": "adamw",
        "linear.normalize": False,
        "linear.weight_decay": 0.05,
        "linear.rates": (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1),
        "linear.epochs": 100,
        "linear.warmup_epochs": 10,
        "linear.batch": 2048,
    },
}
