"""The features that a probe sees: of labeled images, by an encoder, once for all that is asked."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import timm
import torch
from torch import Tensor

import sgmim
from sgmim import features
from sgmim.analysis.base import Subject
from sgmim.data.batches import in_order
from sgmim.errors import ConfigurationError
from sgmim.features import Pool, Precision, Reading
from sgmim.objective import Batch
from sgmim.probing.cache import kept, stamp
from sgmim.probing.labeled import Exam, Images, Labeled
from sgmim.probing.weights import checkpoint
from sgmim.progress import progress


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """How features are computed; what the preset says is said by it unless given here.

    Args:
        layer: block of a ViT or stage of a Swin, counted from 1, or "last"; of several each is
            probed, and one forward pass serves all.
        pool: "class" token, "mean" of the patch tokens, or "both", one after the other.
        norm: through the encoder's final norm before pooling.
        share: of an image's shorter side that the center crop takes, in the shape of the encoder's
            images: 0.875 is 224 of 256 pixels. null is the whole image, resized.
        precision: of the forward pass; "auto" is bf16 where the device is faster in it.
        batch: images at once.
        workers: processes that read images, besides this one.
        cache: a folder where features are kept for the next time.
    """

    layer: int | Literal["last"] | list[int] | None = None
    pool: Pool | None = None
    norm: bool | None = None
    share: float | None = None
    precision: Precision = "auto"
    batch: int = 64
    workers: int = 0
    cache: Path | None = None

    def __post_init__(self):
        if self.batch < 1 or self.workers < 0:
            raise ConfigurationError("features are computed of 1 image at once or more")
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigurationError(f"share is above 0 and at most 1, not {self.share}")

    def readings(self, subject: Subject, preset: str) -> list[Reading]:
        """What is read of an encoder; see features.reading."""
        layers = self.layer if isinstance(self.layer, list) else [self.layer]
        return [
            features.reading(subject.encoder, preset, layer=layer, pool=self.pool, norm=self.norm)
            for layer in layers
        ]


def _telling(
    batches: Iterable[Batch], count: int, tell: Callable[[int, int], None]
) -> Iterator[Batch]:
    """The batches, as somebody is told how many images are done."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch["image"])
        tell(done, count)


def banks(
    subject: Subject, exam: Exam, readings: list[Reading], how: Extraction, device: torch.device
) -> Iterator[tuple[Labeled, Labeled | None]]:
    """For each reading the features of what is known and of what is asked about, on the device."""
    known = _bank(subject, exam.known, readings, how, device)
    asked = _bank(subject, exam.asked, readings, how, device) if exam.asked else None
    for number, bank in enumerate(known):
        yield exam.parted(bank, asked[number] if asked else None)


def _bank(
    subject: Subject, images: Images, readings: list[Reading], how: Extraction, device: torch.device
) -> list[Labeled]:
    """The features of images, one bank a reading, from the cache if it has them."""
    count = len(images.source)

    def make() -> list[Tensor]:
        encoder = subject.encoder.to(device)
        with progress(f"features of {subject.name}") as tell:
            batches = in_order(
                images.source,
                size=encoder.image_size,
                batch=how.batch,
                share=how.share,
                normalization=subject.normalization,
                workers=how.workers,
                device=device,
            )
            told = _telling(batches, count, tell)
            return features.gathered(encoder, told, readings, count, precision=how.precision)

    state = stamp(images.source, images.options) if how.cache else None
    about = {
        "weights": checkpoint(subject)["sha256"],
        "image_size": subject.encoder.image_size,
        "normalization": subject.normalization,
        "readings": [asdict(reading) for reading in readings],
        "share": how.share,
        "precision": how.precision,
        "batch": how.batch,
        "device": device.type,
        "data": dict(images.options),
        "files": state,
        "versions": [sgmim.__version__, torch.__version__, timm.__version__],
    }
    found = kept(how.cache if state else None, about, make)
    labels = images.labels.to(device)
    return [Labeled(each.to(device), labels) for each in found]
