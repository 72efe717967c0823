"""Make maps for a folder of images: it may be stopped or killed at any time, and goes on later."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt16
from torch import Tensor

from sgmim import __version__
from sgmim.data.images import Source
from sgmim.data.listing import stem
from sgmim.data.stored import NOTE, Note, encode_png, read_note, to_numbers
from sgmim.errors import ConfigurationError, DataError
from sgmim.files import write_bytes, write_text

# Colors in [0, 1] to a map: the one image is (1, 3, H, W), the map (1, c, H, W).
Maker = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Made:
    """What became of one image."""

    name: str
    number: int  # of images dealt with so far
    count: int  # of all
    new: bool = True  # False: its map was there
    error: str | None = None  # why there is no map


def make(
    maker: Maker, images: Source, folder: Path, note: Note, *, device: torch.device | str = "cpu"
) -> Iterator[Made]:
    """Make the map of every image that has none in `folder` yet, and tell of each image.

    A map is a 16-bit PNG, called as its image but for the suffix; `note` says how its numbers are
    stored, and is kept beside the maps. NaN in a map needs a note with a hole at 0. No map is ever
    there in part: it is written under a hidden name, which begins with a dot, and then renamed.

    Broken images are told of and passed over. Raises ConfigurationError where the folder holds maps
    that were not made as `note` says, FileError where it cannot be written to.
    """
    assert note.scale is not None, "numbers are made with a scale that the note keeps"
    folder = Path(folder)
    _claim(folder, note, images)
    for index, name in enumerate(images.names):
        path, state = folder / f"{stem(name)}.png", (name, index + 1, len(images))
        if path.exists():
            yield Made(*state, new=False)
            continue
        try:
            image = images.read(index, {"image"})["image"]
            numbers = _numbers(_apply(maker, image.to(device)), note, name)
        except DataError as error:
            yield Made(*state, error=str(error))
            continue
        write_bytes(path, encode_png(numbers))
        yield Made(*state)


def _claim(folder: Path, note: Note, images: Source) -> None:
    """Leave the note in an empty folder, or see to it that the one there is the same."""
    found = read_note(folder)
    if found is None:
        if folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty and has no {NOTE}, so its maps are of unknown origin; "
                f"choose another folder"
            )
        about = asdict(note) | {"sgmim": __version__, "images": str(getattr(images, "folder", ""))}
        write_text(folder / NOTE, json.dumps(about, indent=2) + "\n")
    elif found != note:
        differing = [key for key, value in asdict(note).items() if value != getattr(found, key)]
        told = "; ".join(
            f"{key} {getattr(found, key)!r} there, {getattr(note, key)!r} here" for key in differing
        )
        raise ConfigurationError(
            f"{folder} holds maps made otherwise ({told}); choose another folder"
        )


def _apply(maker: Maker, image: Tensor) -> Float[Tensor, "c H W"]:
    with torch.inference_mode():
        made = maker(image[None] / 255)
    if made.ndim != 4 or made.shape[0] != 1 or made.shape[-2:] != image.shape[-2:]:
        raise ConfigurationError(
            f"the source gave {tuple(made.shape)} for an image of {tuple(image.shape)}; "
            f"a map is (1, c, H, W), as large as its image"
        )
    return made[0].float().cpu()


def _numbers(made: Float[Tensor, "c H W"], note: Note, name: str) -> UInt16[np.ndarray, "c H W"]:
    """The numbers to store. Values beyond what the note can hold are clipped."""
    assert note.scale is not None, "see `make`"
    try:
        numbers = to_numbers(made, note.scale, note.low, note.hole)
    except DataError as error:
        raise DataError(f"the map of {name}: {error}") from error
    return numbers.numpy().astype(np.uint16)
