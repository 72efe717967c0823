"""Predict for any images, and draw what was predicted.

    sgmim predict RUN IMAGES OUT

Writes, under each image's name, OUT/depth/NAME.png (16 bit, see knowledge.json there) and
OUT/pictures/NAME.png (image and prediction side by side). May be stopped, and goes on.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim.analysis.pictures import sheet
from sgmim.data.geometry import normalize
from sgmim.data.images import Images
from sgmim.data.stored import Note
from sgmim.evaluation import resized
from sgmim.files import write_whole
from sgmim.finished import Finished, open_run
from sgmim.knowledge.maps import make
from sgmim.options import Parser


def main(arguments: Sequence[str]) -> None:
    parser = Parser("predict", "Predict for any images, and draw what was predicted.")
    parser.add_argument("run", type=Path, help="folder of a finished 'sgmim finetune'")
    parser.add_argument("images", type=Path, help="a folder of images, or a list")
    parser.add_argument("out", type=Path, help="where predictions go")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    config = parser.read(arguments)
    run, images = open_run(config.run, "finetune", device=config.device), Images(config.images)
    predictor = Predictor(run)
    note = Note(
        name=run.name,
        meaning="meters along the optical axis",
        source=str(config.run),
        scale=65535 / run.objective.max_depth,
        direction="far_high",
    )
    device = next(run.objective.parameters()).device
    broken = 0
    for item in make(predictor, images, config.out / run.name, note, device=device):
        if item.error:
            print(f"left out: {item.error}", file=sys.stderr)
            broken += 1
        elif item.new:
            name = f"{os.path.splitext(item.name)[0]}.png"
            drawn = sheet({"image": predictor.image, run.name: predictor.said})
            write_whole(config.out / "pictures" / name, lambda file, s=drawn: s.save(file, "PNG"))
    print(f"{config.out}: {len(images) - broken} of {len(images)} images")


class Predictor:
    """A model as a maker of maps; it remembers what it was last shown and said."""

    def __init__(self, run: Finished):
        self.run = run
        self.image = self.said = torch.empty(0)

    def __call__(self, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 1 H W"]:
        task = self.run.objective
        shown = normalize(255 * resized(image, task.encoder.image_size), self.run.normalization)
        said = task.predict(shown).float()
        self.image, self.said = image, F.interpolate(said, image.shape[2:], mode="bilinear")
        return self.said
