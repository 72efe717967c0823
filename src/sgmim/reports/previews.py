"""A sheet of a few images beside their maps: what a folder of maps looks like, at a glance."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image
from torch import Tensor, stack

from sgmim.data.geometry import center_crop, cut
from sgmim.data.images import Images
from sgmim.data.listing import stem
from sgmim.data.stored import Note, read_map, read_note
from sgmim.errors import DataError
from sgmim.pinhole import as_colors
from sgmim.reports.pictures import sheet

SIZE = (192, 256)  # of a tile, pixels
MOVED_AS = {"class": "classes", "points": "fast"}  # maps of a kind, see geometry.RULES
TRIES = 20  # images that are looked at for one that has a map


def preview(images: Images, folders: Sequence[Path], count: int = 8) -> Image.Image | None:
    """So many images, evenly spread, the middle of each beside its maps in the folders.

    None where no image has a map.
    """
    rows = []
    count = min(count, len(images))
    for part in range(count):
        start, stop = (len(images) * place // count for place in (part, part + 1))
        for index in range(start, min(stop, start + TRIES)):
            with suppress(DataError):
                rows.append(_row(images, index, folders))
                break
    if not rows:
        return None
    return sheet({name: stack([row[name] for row in rows]) for name in rows[0]})


def _row(images: Images, index: int, folders: Sequence[Path]) -> dict[str, Tensor]:
    """An image and its maps as `sheet` takes them. DataError where one of them is missing."""
    row = {"image": _tile("image", images.read(index, {"image"})["image"].float() / 255)}
    for folder in folders:
        note = read_note(folder) or Note()
        path = folder / f"{stem(images.names[index])}.png"
        values = read_map(path, scale=note.scale, low=note.low, hole=note.hole)
        tile = _tile(MOVED_AS.get(note.kind or "", "dense"), values)
        row[note.name or folder.name] = _shown(tile, note)
    return row


def _shown(tile: Tensor, note: Note) -> Tensor:
    if len(tile) != 3:
        return tile[:1]
    return as_colors(tile[None])[0] if note.kind == "normal" else tile


def _tile(rule: str, values: Tensor) -> Tensor:
    height, width = values.shape[-2:]
    return cut({rule: values}, center_crop(height, width, SIZE[1] / SIZE[0]), SIZE)[rule]
