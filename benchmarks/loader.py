"""How many images, and pairs of image and map, one core brings from files to normalized batches.

    python benchmarks/loader.py [--quick] [--json FILE]

Both sides do the same work on the same files, in one process on one thread, taking turns: decode,
one random crop (the rule of RandomResizedCrop) and mirror for both, bilinear to 192 x 192, numbers,
ImageNet's normalization, batches of 64. The last row goes as far as bytes in a batch, which is what
a worker hands over where a GPU does the rest. The peer is what most code does: Pillow images
through torchvision's first transforms. The photos are made here: 500 x 375, noise of natural
spectrum (1/f) and shapes with sharp edges, JPEG of quality 90, 110 KB as ImageNet has on average;
the maps are smoother, in 16-bit PNGs of 300 KB. The shards are what 'sgmim data pack' makes of
them: 256 pixels, JPEG, maps as 8-bit JPEG; the peer has the same files in a folder. Files stay in
memory, so that no disk is measured, and time is the processor's, not the clock's, which others may
share.

A row's `value` is the median of our rate, `ratio` the median of ours / the peer's over the rounds,
the middle 80 % of the rounds lie from `low` to `high`.
"""

import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as V1

from sgmim.data.batches import Batches
from sgmim.data.geometry import NORMALIZATIONS
from sgmim.data.images import Images
from sgmim.data.loading import join
from sgmim.data.packing import pack
from sgmim.data.png import encode_png
from sgmim.data.shards import Shards
from timing import Row, command, in_turns, over, row, told, write

PEER = "Pillow and torchvision transforms v1"
HEIGHT, WIDTH, SIZE, BATCH = 375, 500, 192, 64
CASES = {
    "image": (),
    "image and 16-bit map": ("ours",),
    "image and 16-bit map, PNG written by Pillow": ("pillow",),
}
PACKED = {"shards, image": (), "shards, image and 8-bit map": ("depth",)}


class Peer:
    """Pillow images and torchvision's transforms v1, with crop and mirror shared."""

    def __init__(self, folder: Path, maps: tuple[str, ...]):
        self.images = sorted((folder / "photos").iterdir())
        self.maps = [folder / name for name in maps]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        path = self.images[index]
        image = Image.open(path).convert("RGB")
        box = RandomResizedCrop.get_params(image, [0.67, 1.0], [3 / 4, 4 / 3])
        flip = bool(torch.rand(()) < 0.5)
        parts = [
            V1.normalize(V1.to_tensor(self._cut(image, box, flip)), *NORMALIZATIONS["imagenet"])
        ]
        for folder in self.maps:
            file = next(folder.glob(f"{path.stem}.*"))
            numbers = np.asarray(Image.open(file), np.float32)
            numbers /= 255 if file.suffix == ".jpg" else 65536
            parts.append(V1.to_tensor(self._cut(Image.fromarray(numbers), box, flip)))
        return parts

    def _cut(self, image: Image.Image, box: tuple[int, ...], flip: bool) -> Image.Image:
        image = V1.resized_crop(image, *box, [SIZE, SIZE], InterpolationMode.BILINEAR)
        return V1.hflip(image) if flip else image


def main() -> None:
    parser = command(__doc__)
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, rounds, steps = (64, 5, 2) if options.quick else (256, 11, 4)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), count)
        rows = [measured(Path(folder), name, rounds, steps) for name in CASES]
        small = packed(Path(folder))
        rows += [measured_packed(small, name, rounds, steps) for name in PACKED]
        rows += [measured_bytes(small, rounds, steps)]
    print(*map(told, rows), sep="\n")
    write(rows, options.json)


def measured(folder: Path, name: str, rounds: int, steps: int) -> Row:
    maps = {kind: folder / kind for kind in CASES[name]}
    ours = Batches(
        Images(folder / "photos", maps), size=(SIZE, SIZE), batch=BATCH, needs=("image", *maps)
    )
    return compared(f"loader, {name}", ours, Peer(folder, (*maps,)), rounds, steps)


def measured_packed(folder: Path, name: str, rounds: int, steps: int) -> Row:
    maps = PACKED[name]
    ours = Batches(Shards(folder), size=(SIZE, SIZE), batch=BATCH, needs=("image", *maps))
    return compared(f"loader, {name}", ours, Peer(folder / "files", maps), rounds, steps)


def measured_bytes(folder: Path, rounds: int, steps: int) -> Row:
    """What one worker does."""
    ours = Batches(Shards(folder), size=(SIZE, SIZE), batch=BATCH, needs=("image", "depth"))

    def work() -> None:
        for samples in islice(ours.order(), steps):
            join([ours.cutter[sample] for sample in samples])

    seconds = in_turns({"ours": work}, rounds, warmup=1, clock=process_time)["ours"]
    rates = [steps * BATCH / took for took in seconds]
    return row("loader, shards, image and 8-bit map, bytes", rates, "samples a second and core")


def compared(name: str, ours: Batches, peer: Peer, rounds: int, steps: int) -> Row:
    theirs = DataLoader(peer, BATCH, shuffle=True)
    sides = {"ours": ours(), "theirs": again_and_again(theirs)}
    runs = {side: partial(draw, batches, steps) for side, batches in sides.items()}
    seconds = in_turns(runs, rounds, warmup=1, clock=process_time)
    rates = [steps * BATCH / took for took in seconds["ours"]]
    ratios = over(seconds["theirs"], seconds["ours"])
    return row(name, rates, "samples a second and core", PEER, ratios)


def packed(folder: Path) -> Path:
    """The photos in shards, and beside them the files that these are made of."""
    out = folder / "packed"
    for _ in pack(
        folder / "photos",
        out,
        maps={"depth": folder / "ours"},
        encoding={"depth": "jpeg8"},
        workers=0,
    ):
        pass
    for name, called in (("image", "photos"), ("depth", "depth")):
        with tarfile.open(out / name / "00000.tar") as tar:
            tar.extractall(out / "files" / called, filter="data")
    return out


def draw(batches: Iterator, count: int) -> None:
    for _ in range(count):
        next(batches)


def again_and_again(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


def make_photos(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name in ("photos", "ours", "pillow"):
        (folder / name).mkdir()
    for number in range(count):
        shapes = overlapping(rng, 30)
        colors = np.stack([blend(rng, shapes, 1.0) for _ in range(3)], -1)
        image = Image.fromarray((255 * colors).astype(np.uint8))
        image.save(folder / "photos" / f"{number:04}.jpg", quality=90)
        depth = (65535 * blend(rng, shapes, 1.8)).astype(np.uint16)
        (folder / "ours" / f"{number:04}.png").write_bytes(encode_png(depth[None]))
        Image.fromarray(depth).save(folder / "pillow" / f"{number:04}.png")


def blend(rng: np.random.Generator, shapes: np.ndarray, falloff: float) -> np.ndarray:
    shades = rng.random(shapes.max() + 1)[shapes]
    return (0.25 + 0.5 * shades + 0.15 * natural(rng, falloff)).clip(0, 1)


def overlapping(rng: np.random.Generator, count: int) -> np.ndarray:
    """Which of `count` disks, thrown on each other, lies on top."""
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    top = np.zeros((HEIGHT, WIDTH), int)
    for number in range(1, count):
        down, across, radius = rng.integers(HEIGHT), rng.integers(WIDTH), rng.integers(10, 120)
        top[(y - down) ** 2 + (x - across) ** 2 < radius**2] = number
    return top


def natural(rng: np.random.Generator, falloff: float) -> np.ndarray:
    """Noise of deviation 1 whose amplitude falls with frequency: in photos, as 1 / f."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((HEIGHT, WIDTH))) / frequency**falloff
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


if __name__ == "__main__":
    main()
