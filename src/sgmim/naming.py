"""Which classes many images are of: a table for spreadsheets and scripts, the likeliest first.

image,class 1,probability 1,class 2,probability 2,...
summer/lake.jpg,boathouse,0.8123,dock,0.0711,...
"""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch

from sgmim.data.decoding import read_image
from sgmim.data.images import Images
from sgmim.errors import DataError
from sgmim.files import write_text
from sgmim.prediction import Predictor

TABLE = "classes.csv"
SHOWN = 5  # classes an image


class Named(NamedTuple):
    """What is said of an image: its likeliest classes and their probabilities; or an error."""

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str = ""


@torch.no_grad()
def name_all(model: Predictor, images: Images, names: Sequence[str] = ()) -> Iterator[Named]:
    """What a model says of image after image, `names` being those of the classes."""
    for index, name in enumerate(images.names):
        try:
            image = read_image(images.path(index), images.max_pixels)
        except DataError as error:
            yield Named(name, error=str(error))
            continue
        shares = model(image[None].to(model.device) / 255)[0].softmax(dim=0)
        likeliest = shares.topk(min(SHOWN, len(shares)))
        numbers = likeliest.indices.tolist()
        told = tuple(names[number] if names else str(number) for number in numbers)
        yield Named(name, told, tuple(likeliest.values.tolist()))


def write_table(path: Path, rows: Sequence[Named]) -> None:
    """Rows of images without errors, as CSV."""
    text = StringIO()
    writer, most = csv.writer(text), max((len(row.classes) for row in rows), default=0)
    titles = [(f"class {place}", f"probability {place}") for place in range(1, most + 1)]
    writer.writerow(["image", *(title for pair in titles for title in pair)])
    for row in rows:
        pairs = zip(row.classes, row.probabilities, strict=True)
        writer.writerow([row.image, *(part for n, p in pairs for part in (n, f"{p:.4f}"))])
    write_text(path, text.getvalue())
