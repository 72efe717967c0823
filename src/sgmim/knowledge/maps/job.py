"""The steps of making maps: what is there, what is broken, a batch from images to files."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from sgmim.data.decoding import image_size
from sgmim.data.images import Images
from sgmim.data.listing import stem
from sgmim.data.png import encode_png, is_whole
from sgmim.data.stored import Note, to_numbers, within
from sgmim.errors import DataError
from sgmim.files import write_bytes
from sgmim.knowledge.maker import Maker, Reader
from sgmim.knowledge.maps import batching
from sgmim.knowledge.maps.agreement import agreement
from sgmim.knowledge.maps.batching import together
from sgmim.knowledge.maps.canonical import STRETCHED, Size, canonical, checked
from sgmim.knowledge.maps.claiming import BROKEN, CONSTANT, Manner, note_down

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Found:
    """What became of one image."""

    index: int  # among all images
    new: bool = True  # False: its map was there
    error: str | None = None  # why there is no map
    constant: bool = False  # its map has only one value


@dataclass(frozen=True)
class Plan:
    """What there is to do for a piece of the list."""

    found: list[Found]  # what needs nothing more
    missing: set[int]  # images without a map
    batches: list[list[int]]  # those with such an image in them, whole


@dataclass(frozen=True)
class Map:
    """One map, as it is stored; on the CPU."""

    values: Float[Tensor, "c H W"]
    low: float  # raw
    high: float
    confidence: Float[Tensor, "1 H W"] | None


@dataclass(frozen=True)
class Job:
    """How maps are made; its methods may be called by several threads."""

    maker: Maker
    images: Images
    folder: Path
    note: Note  # of what is stored
    manner: Manner
    device: torch.device
    confidence: Path | None = None

    def path(self, index: int, folder: Path | None = None) -> Path:
        return (folder or self.folder) / f"{stem(self.images.names[index])}.png"

    def is_there(self, index: int) -> bool:
        folders = [self.folder] + [self.confidence] * (self.confidence is not None)
        return all(is_whole(self.path(index, folder)) for folder in folders)

    def plan(self, chunk: range) -> Plan:
        there = [index for index in chunk if self.is_there(index)]
        found, missing = [Found(index, new=False) for index in there], set(chunk) - set(there)
        sizes: dict[int, Size] = {}
        for index in chunk if missing else ():
            try:
                sizes[index] = image_size(self.images.path(index), self.images.max_pixels)
            except DataError as error:
                found += [self.broken(index, error)] if index in missing else []
        together = batching.batches(sizes, self.manner.batch)
        return Plan(found, missing, [batch for batch in together if missing & set(batch)])

    def read(self, index: int) -> Real[Tensor, "c H W"]:
        shown = self.maker.reads if isinstance(self.maker, Reader) else "image"
        return self.images.read(index, {shown})[shown]

    def broken(self, index: int, error: DataError) -> Found:
        note_down(self.folder / BROKEN, self.images.names[index], str(error))
        return Found(index, error=str(error))

    def raw(self, image: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b c h w"]:
        """What the source gives, and nothing else than maps."""
        half = HALF.get(self.manner.precision)
        cast = torch.autocast(self.device.type, half) if half else nullcontext()
        with torch.inference_mode(), cast:
            given = self.maker(image)
        with torch.inference_mode():
            return checked(given, len(image), self.maker.note)

    def shown(self, images: Sequence[Real[Tensor, "c H W"]]) -> Float[Tensor, "b c H W"]:
        """Images of one size, as the source sees them."""
        shown = torch.stack(list(images)).to(self.device)
        return shown.float().div_(255) if shown.dtype == torch.uint8 else shown

    @torch.inference_mode()
    def compute(self, images: Sequence[Real[Tensor, "c H W"]]) -> list[Map]:
        """The maps of images of one size.

        DataError where the device has no memory for one of them alone.
        """
        image, note = self.shown(images), self.maker.note
        size = within(image.shape[-2], image.shape[-1], self.note.max_side)
        raw = self._fitting(image)
        made, sure = canonical(raw, note, size), None
        if self.confidence is not None:
            sure = agreement(raw, self._fitting(image.flip(-1)), note, size).cpu()
        ends = zip(made.low.tolist(), made.high.tolist(), strict=True)
        return [
            Map(values, low, high, None if sure is None else sure[place])
            for place, (values, (low, high)) in enumerate(zip(made.values.cpu(), ends, strict=True))
        ]

    def _fitting(self, image: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b c h w"]:
        try:
            return self.raw(image)
        except torch.OutOfMemoryError:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        try:
            return together(self.raw, image, 1)
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"an image of {image.shape[-2]} x {image.shape[-1]} pixels is too large for the "
                f"memory of {self.device}; make it smaller, or pass over such with --max_pixels"
            ) from error

    def write(self, index: int, made: Map) -> Found:
        """Keep a map. It is not flushed to the disk one by one, which takes longer than all else
        (5 ms of an ext4 disk): what a machine loses with its power is made again, see `is_there`.
        """
        name, note = self.images.names[index], self.note
        try:
            content = _encoded(made, note)
        except DataError as error:
            return self.broken(index, DataError(f"the map of {name}: {error}"))
        constant = made.high <= made.low and note.kind != "class"
        if constant:
            note_down(self.folder / CONSTANT, name, f"its map is {made.low:.9g} all over")
        if self.confidence is not None and made.confidence is not None:
            numbers = to_numbers(made.confidence, 65535.0).numpy().astype(np.uint16)
            write_bytes(self.path(index, self.confidence), encode_png(numbers), flushed=False)
        write_bytes(self.path(index), content, flushed=False)
        return Found(index, constant=constant)


def _encoded(made: Map, note: Note) -> bytes:
    assert note.scale is not None, "see canonical.described"
    most, kind = (255, np.uint8) if note.bits == 8 else (65535, np.uint16)
    numbers = to_numbers(made.values, note.scale, note.low, note.hole, most).numpy().astype(kind)
    told = {"range": f"{made.low:.9g} {made.high:.9g}"} if note.kind in STRETCHED else None
    return encode_png(numbers, told)
