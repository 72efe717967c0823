"""Predict for any images, and draw what was predicted.

    sgmim predict RUN IMAGES OUT

Writes, under each image's name, OUT/depth/NAME.png (16 bit, see knowledge.json there) and
OUT/pictures/NAME.png (image and prediction side by side). May be stopped, and goes on.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

from jaxtyping import Float
from torch import Tensor

from sgmim.analysis.pictures import sheet
from sgmim.data.geometry import normalize
from sgmim.data.images import Images
from sgmim.data.listing import stem
from sgmim.data.stored import Note, read_map
from sgmim.errors import DataError
from sgmim.files import write_whole
from sgmim.finished import Finished, open_run
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import make
from sgmim.objective import Task
from sgmim.options import Parser
from sgmim.tasks.depth import DepthEstimation


def main(arguments: Sequence[str]) -> None:
    parser = Parser("predict", "Predict for any images, and draw what was predicted.")
    parser.add_argument("run", type=Path, help="folder of a finished 'sgmim finetune'")
    parser.add_argument("images", type=Path, help="a folder of images, or a list")
    parser.add_argument("out", type=Path, help="where predictions go")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    config = parser.read(arguments)
    run, images = open_run(config.run, "finetune", device=config.device), Images(config.images)
    task = cast(DepthEstimation, run.objective)  # the only task there is
    note = Note(
        name=run.name,
        meaning="meters along the optical axis",
        source=str(config.run),
        scale=65535 / task.max_depth,
        direction="far_high",
    )
    device = next(task.parameters()).device
    broken = 0
    maker = Function(partial(predict, run), note)
    making = make(maker, images, config.out / run.name, batch=1, precision="fp32", device=device)
    for item in making:
        name = f"{stem(item.name)}.png"
        picture = config.out / "pictures" / name
        if item.error:
            print(f"left out: {item.error}", file=sys.stderr)
            broken += 1
        elif not picture.is_file():
            image = images.read(item.index)["image"][None] / 255
            said = read_map(config.out / run.name / name, scale=note.scale)[None]
            drawn = sheet({"image": image, run.name: said})
            write_whole(picture, partial(drawn.save, format="PNG"))
    print(f"{config.out}: {len(images) - broken} of {len(images)} images")
    if broken == len(images):
        raise DataError(f"none of the {len(images)} images could be read")


def predict(run: Finished, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 1 H W"]:
    """What a model says of an image in [0, 1], as large as that."""
    task = cast(Task, run.objective)
    shown = normalize(255 * image, run.normalization)
    return run.inference(task.predict, shown, task.encoder.image_size)
