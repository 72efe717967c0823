"""Predict for any images, and draw what was predicted.

    sgmim predict RUN IMAGES OUT --write colors,overlay,sheet,points

IMAGES is a folder (of photos, or of the frames of a video), a list, or one image. In OUT there is,
under each image's name:

    depth/NAME.png      meters, in 16 bits: see knowledge.json there
    classes/NAME.png    or numbers of classes, in 8 bits; in 16 where there are more than 255
    colors/NAME.png     the same in colors
    overlay/NAME.png    laid over the image
    sheet/NAME.png      beside the image, with a scale or the names of classes
    points/NAME.ply     depth as a cloud of points, as --camera or --field_of_view sees them

Of a model that tells the class of a whole image there is one table instead:

    classes.csv         every image, its five likeliest classes and their probabilities

May be stopped, and goes on. Broken images are left out, and listed in broken.txt beside the maps.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image
from torch import Tensor

from sgmim.data.images import Images
from sgmim.data.listing import stem
from sgmim.data.png import is_whole
from sgmim.data.stored import Note, read_map
from sgmim.errors import ConfigurationError, DataError, unknown
from sgmim.files import write_whole
from sgmim.inference import Inference
from sgmim.knowledge.maker import Function
from sgmim.knowledge.maps import Made, make
from sgmim.naming import TABLE, name_all, write_table
from sgmim.options import Parser
from sgmim.pinhole import Lens
from sgmim.point_clouds import as_ply, cloud
from sgmim.prediction import Predictor, load_task
from sgmim.reports.predictions import ClassDrawing, DepthDrawing
from sgmim.tasks.depth import DepthEstimation

PICTURES = ("colors", "overlay", "sheet")
POINTS = "points"


def main(arguments: Sequence[str]) -> None:
    parser = Parser("predict", "Predict for any images, and draw what was predicted.")
    parser.add_argument("run", type=Path, help="folder of a finished 'sgmim finetune'")
    parser.add_argument("images", type=Path, help="a folder of images, a list, or an image")
    parser.add_argument("out", type=Path, help="where predictions go")
    parser.add_argument(
        "--write", type=str, default="sheet",
        help="what, besides the maps: colors,overlay,sheet,points",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--camera", type=tuple[float, float, float, float] | None, default=None,
        help="of points: focal length across and down, middle across and down, in pixels",
    )  # fmt: skip
    parser.add_argument(
        "--field_of_view", type=float | None, default=None,
        help="of points, where there is no camera: degrees along an image's longer side",
    )  # fmt: skip
    parser.add_argument(
        "--ends", type=tuple[float, float] | None, default=None,
        help="meters at the ends of the colors; each image's own if not given",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=str, nargs="*", default=[], help="of classes, if the run does not know them"
    )
    parser.add("inference", Inference)
    config = parser.read(arguments)
    changed = parser.read(arguments, defaults=False).get("inference")  # else as the run has it
    model = load_task(config.run, device=config.device, **(changed.as_dict() if changed else {}))
    images = Images(config.images)
    if model.map == "label":
        write_names(model, images, config.out, config.names)
        return
    lens = Lens(config.camera, config.field_of_view)
    pictures = Pictures(
        model, images, config.out, chosen(config.write, model), lens, config.ends, config.names
    )
    maker = Function(lambda image: model.answer(model(image)).float(), note(model, config.run))
    making = make(
        maker, images, config.out / model.map, batch=1, precision="fp32", device=model.device
    )
    broken = 0
    for made in making:
        if made.error:
            print(f"left out: {made.error}", file=sys.stderr)
            broken += 1
        else:
            pictures.write(made)
    print(f"{config.out}: {len(images) - broken} of {len(images)} images")
    if broken == len(images):
        raise DataError(f"none of the {len(images)} images could be read")


def write_names(model: Predictor, images: Images, out: Path, names: Sequence[str]) -> None:
    """Write the table of which classes the images are of.

    Raises:
        ConfigurationError: there are not as many names as classes.
        DataError: no image could be read.
    """
    count = model.task.limits["label"]
    names = names or model.classes
    if names and len(names) != count:
        raise ConfigurationError(f"{len(names)} names are given, and there are {count} classes")
    rows = list(name_all(model, images, names))
    for row in rows:
        if row.error:
            print(f"left out: {row.error}", file=sys.stderr)
    read = [row for row in rows if not row.error]
    if not read:
        raise DataError(f"none of the {len(images)} images could be read")
    write_table(out / TABLE, read)
    print(f"{out / TABLE}: {len(read)} of {len(images)} images")


def chosen(words: str, model: Predictor) -> tuple[str, ...]:
    """What is to be written besides the maps, from words such as "colors,points".

    Raises:
        ConfigurationError: one of them is not to be had of this model.
    """
    kinds = (*PICTURES, POINTS) if model.map == "depth" else PICTURES
    asked = [word for word in words.replace(",", " ").split() if word != model.map]
    for word in asked:
        if word == POINTS and POINTS not in kinds:
            raise ConfigurationError(f"points are made of depth, and {model.name} predicts none")
        if word not in kinds:
            raise unknown("kind of picture", word, kinds)
    return tuple(asked)


def note(model: Predictor, run: Path) -> Note:
    """What the numbers of the maps mean."""
    shown = ", ".join(f"{name} {value}" for name, value in model.inference.protocol().items())
    if classes := model.task.limits.get("classes"):
        return Note(
            name=model.map, meaning="numbers of classes, from 0", source=str(run), version=shown,
            kind="class", scale=1.0, bits=8 if classes <= 255 else 16,
        )  # fmt: skip
    depth = cast(DepthEstimation, model.task)
    return Note(
        name=model.map, meaning="meters along the optical axis", source=str(run), version=shown,
        kind="metric", scale=65535 / depth.max_depth, direction="far_high",
    )  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """What is made of the maps, a folder of `out` for each kind."""

    model: Predictor
    images: Images
    out: Path
    kinds: tuple[str, ...]
    lens: Lens
    ends: tuple[float, float] | None = None
    names: Sequence[str] = field(default_factory=tuple)

    def write(self, made: Made) -> None:
        """Make those of an image that are not there yet."""
        name = stem(made.name)
        missing = [kind for kind in self.kinds if not self._is_there(kind, name)]
        if not missing:
            return
        image = self.images.read(made.index)["image"]
        scale = note(self.model, self.out).scale
        said = read_map(self.out / self.model.map / f"{name}.png", scale=scale)
        for kind in missing:
            # flushed one by one, pictures would take longer to write than to make
            content, flushed = self._content(kind, image, said), kind == POINTS
            write_whole(self._path(kind, name), content, flushed=flushed)

    def _is_there(self, kind: str, name: str) -> bool:
        path = self._path(kind, name)
        return path.is_file() if kind == POINTS else is_whole(path)

    def _path(self, kind: str, name: str) -> Path:
        return self.out / kind / f"{name}.{'ply' if kind == POINTS else 'png'}"

    def _content(self, kind: str, image: Tensor, said: Tensor) -> Callable[[BinaryIO], object]:
        """What writes one of them."""
        if kind == POINTS:
            height, width = image.shape[-2:]
            vertices = cloud(said, image, self.lens.camera(height, width))
            told = f"meters: x right, y down, z forward; camera {self.lens}"
            return lambda file: file.write(as_ply(vertices, told))
        drawing = self.drawing(image / 255, said)
        drawn: Image.Image = getattr(drawing, kind)()
        return partial(drawn.save, format="PNG")

    def drawing(self, image: Tensor, said: Tensor) -> DepthDrawing | ClassDrawing:
        if self.model.map == "depth":
            return DepthDrawing(image, said, self.ends)
        return ClassDrawing(image, said, self.names or self.model.classes)
