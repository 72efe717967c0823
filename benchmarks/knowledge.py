"""How many maps a core makes, without the source: decoding, what becomes of raw maps, writing.

    python benchmarks/knowledge.py [--quick] [--json FILE]

The source is the mean of the colors, which takes no time to speak of. Photos of 500 x 375 in JPEG
(those of loader.py) come in, 16-bit PNGs go out, to the disk of the temporary folder. Both sides
do the same work on the same files, in one process with one thread of torch, taking turns. The peer
is what most scripts do: Pillow, numpy, and a 16-bit PNG by Pillow, one image after another. `ours`
is the whole job: claiming the folder, the note, the lists, whole files only. Time is the
processor's, of all threads together, so a rate is per core; not the clock's, which others share.

A row's `value` is the median of our rate, `ratio` the median of ours / the peer's over the rounds,
the middle 80 % of the rounds lie from `low` to `high`. The goal is 150 maps a second and core.
"""

import shutil
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from loader import make_photos
from sgmim.data.images import Images
from sgmim.data.stored import Note
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import make
from timing import command, in_turns, over, row, told, write

PEER = "Pillow and numpy"
NOTES = {
    "as it is": Note(name="mean", scale=65535.0),
    "inverse depth": Note(name="mean", kind="inverse"),
}


def main() -> None:
    parser = command(__doc__)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, rounds = (64, 5) if options.quick else (256, 11)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder, images)
        sides = {side: partial(ours, folder, note) for side, note in NOTES.items()}
        seconds = in_turns(sides | {PEER: partial(theirs, folder)}, rounds, clock=process_time)
    rows = [
        row(
            f"maps, 500 x 375, {side}",
            [images / took for took in seconds[side]],
            "maps a second and core",
            PEER,
            over(seconds[PEER], seconds[side]),
        )
        for side in sides
    ]
    print(*map(told, rows), sep="\n")
    write(rows, options.json)


def ours(folder: Path, note: Note, numbers=count()) -> None:  # noqa: B008  (one count for all)
    out = folder / f"made_{next(numbers)}"
    for _ in make(Function(mean, note), Images(folder / "photos"), out):
        pass
    shutil.rmtree(out)


def mean(image: Tensor) -> Tensor:
    return image.mean(1, keepdim=True)


def theirs(folder: Path) -> None:
    out = folder / "theirs"
    out.mkdir()
    for path in sorted((folder / "photos").iterdir()):
        colors = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        depth = colors.mean(2)
        depth = (depth - depth.min()) / (depth.max() - depth.min())
        Image.fromarray((65535 * depth).round().astype(np.uint16)).save(out / f"{path.stem}.png")
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
