"""Photos with depth, packed, for whatever test needs them."""

import numpy as np
from PIL import Image

from sgmim.data.packing import pack
from sgmim.data.png import encode_png

COUNT = 7


def photos(folder, count=COUNT, height=20, width=30):
    """JPEGs, and depth in 16 bits, with a hole in every map."""
    rng = np.random.default_rng(0)
    for kind in ("photos", "depth"):
        (folder / kind / "deep.er").mkdir(parents=True)
    for number in range(count):
        size = (height + number, width)
        name = f"deep.er/{number}.a" if number % 2 else f"{number}"
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "photos" / f"{name}.jpg")
        numbers = rng.integers(0, 65535, (1, *size)).astype(np.uint16)
        numbers[0, 0, 0] = 65535
        (folder / "depth" / f"{name}.png").write_bytes(encode_png(numbers))
    return folder


def packed(folder, out="packed", **options):
    """Where such photos were packed to."""
    given = {
        "maps": {"depth": folder / "depth"},
        "hole": {"depth": 65535.0},
        "samples": 3,
        "workers": 0,
        "short_side": 0,
    }
    for _ in pack(folder / "photos", folder / out, **(given | options)):
        pass
    return folder / out


def contents(folder):
    """Every file below a folder, and what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
