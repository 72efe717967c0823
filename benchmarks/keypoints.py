"""How many images a second have their keypoints found, on one core and on a GPU.

    python benchmarks/keypoints.py [--quick] [--images FOLDER] [--json FILE] [--device cuda]

Images are 192 x 192, cut from a folder of photographs, or from pictures made up as in loader.py
(noise of natural spectrum and shapes with sharp edges). FAST is ours, on one image and on a batch,
against OpenCV's, which is given the same colors in its own order, and whose points are then marked
in a map like ours: the maps are equal, and that is checked. ORB and SIFT
are OpenCV's, with the map and the rings that are made of what they find. All take turns in one
process on one thread; time is the processor's, not the clock's, which others may share, but for the
GPU, which is waited for.

A row's `value` is the median rate, `ratio` the median over the rounds of the rate over that of
OpenCV's FAST, and the middle 80 % of the rounds lie from `low` to `high`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import cv2
import numpy as np
import torch
from torch import Tensor

from loader import blend, overlapping
from sgmim import rasters
from sgmim.data.images import Images
from sgmim.knowledge import keypoints
from timing import Row, command, in_turns, over, row, told, write

SIZE, BATCH, ON_GPU = 192, 32, 256
PEER = f"FAST, OpenCV {cv2.__version__}"


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--images", type=Path, help="a folder of photographs")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = cut(options.images) if options.images else made_up()
    theirs = opencv(as_opencv_likes(images))
    assert torch.equal(keypoints.fast(images), theirs), "not OpenCV's keypoints"
    rows = on_a_core(images, 5 if options.quick else 25)
    if torch.device(options.device).type == "cuda":
        rows += on_a_gpu(images, options.device)
    print(*map(told, rows), sep="\n")
    write(rows, options.json)


def on_a_core(images: Tensor, rounds: int) -> list[Row]:
    points = keypoints.fast(images)
    sides: dict[str, Callable[[], object]] = {
        PEER: partial(opencv, as_opencv_likes(images)),
        "FAST, one image at a time": lambda: [keypoints.fast(one) for one in images.split(1)],
        f"FAST, {BATCH} at once": partial(keypoints.fast, images),
        "ORB": partial(keypoints.orb, images),
        "SIFT": partial(keypoints.sift, images),
        "FAST, rings as OpenCV draws them": partial(keypoints.fast_rings, images),
        f"rings around given points, {BATCH} at once": partial(rasters.ring, points),
    }
    seconds = in_turns(sides, rounds, clock=process_time)
    theirs = seconds.pop(PEER)
    rates = {name: [len(images) / took for took in times] for name, times in seconds.items()}
    unit = "images a second and core"
    return [row(PEER, [len(images) / took for took in theirs], unit)] + [
        row(name, rate, unit, PEER, over(theirs, seconds[name])) for name, rate in rates.items()
    ]


def on_a_gpu(images: Tensor, device: str) -> list[Row]:
    many = images.repeat(ON_GPU // len(images), 1, 1, 1).to(device)
    assert torch.equal(keypoints.fast(many[:BATCH]).cpu(), keypoints.fast(images))

    def find() -> None:
        rasters.ring(keypoints.fast(many))
        torch.cuda.synchronize()

    seconds = in_turns({"gpu": find}, 20, warmup=5, clock=perf_counter)["gpu"]
    rates = [ON_GPU / took for took in seconds]
    name = torch.cuda.get_device_name(device)
    return [row(f"FAST and rings, {ON_GPU} at once, {name}", rates, "images a second")]


def opencv(images: np.ndarray) -> Tensor:
    """OpenCV's FAST at its best: one detector, images as it likes them, its points in one array."""
    detector = cv2.FastFeatureDetector_create()
    found = np.zeros((len(images), 1, SIZE, SIZE), np.float32)
    for points, image in zip(found, images, strict=True):
        x, y = cv2.KeyPoint_convert(detector.detect(image)).astype(int).T
        points[0, y, x] = 1
    return torch.from_numpy(found)


def as_opencv_likes(images: Tensor) -> np.ndarray:
    """Rows, columns, then blue, green, red."""
    return np.ascontiguousarray(images.flip(1).permute(0, 2, 3, 1).numpy())


def cut(folder: Path) -> Tensor:
    """Photographs from all over a folder, scaled and cut to squares."""
    source = Images(folder)
    chosen = np.linspace(0, len(source) - 1, BATCH).astype(int)
    pictures = [source.read(int(index))["image"].permute(1, 2, 0).numpy() for index in chosen]
    return torch.stack([torch.from_numpy(square(picture)).permute(2, 0, 1) for picture in pictures])


def square(picture: np.ndarray) -> np.ndarray:
    side = min(picture.shape[:2])
    return cv2.resize(picture[:side, :side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def made_up() -> Tensor:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(BATCH):
        shapes = overlapping(rng, 30)
        colors = np.stack([blend(rng, shapes, 1.0)[:SIZE, :SIZE] for _ in range(3)])
        pictures.append(torch.from_numpy((255 * colors).astype(np.uint8)))
    return torch.stack(pictures)


if __name__ == "__main__":
    main()
