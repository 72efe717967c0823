"""What every analysis is: a question put to an encoder, answered by numbers and by a figure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.objective import Batch, Objective

Value = str | int | float
Row = dict[str, Value]


@dataclass(frozen=True)
class Subject:
    """An encoder that is looked at."""

    name: str  # for people, as legends call it
    encoder: Encoder  # in evaluation mode, on its device
    normalization: str  # of the images that it is fed (data/geometry.py)
    run: Path | None = None  # the folder or file that it is of; none of new weights
    method: Objective | None = None  # what pre-trained it, whole, where that was asked for


@dataclass(frozen=True)
class Findings:
    """What an analysis found of one subject; numbers and rows are kept as JSON and as CSV."""

    numbers: dict[str, float]  # the few that a reader is told first
    rows: list[Row] = field(default_factory=list)  # one table, of the same columns
    pictures: dict[str, Tensor] = field(default_factory=dict)  # (c, H, W) in [0, 1], for a figure
    kept: dict[str, Tensor] = field(default_factory=dict)  # of any shape, for `compare`


class Analysis:
    """A question put to encoders. A file of this room has one, and is called as its command; the
    keywords of its constructor are its options."""

    title: str  # of its figure and of its section in a report
    needs: tuple[str, ...] = ("image",)  # of a batch
    images: int = 512  # that it looks at, unless it is told how many
    whole: bool = False  # whether it asks the method that pre-trained an encoder, too

    @property
    def changes(self) -> Mapping[str, Any]:
        """Options of that method which are to differ from those of its run."""
        return {}

    def needed(self, subject: Subject) -> tuple[str, ...]:
        """What it needs of a batch to look at a subject.

        Raises:
            ConfigurationError: it cannot be asked of this encoder, and of which it can.
        """
        return self.needs

    def look(self, subject: Subject, batches: Iterable[Batch]) -> Findings:
        """What it finds of one subject. Batches are on the subject's device, normalized for it,
        resized to its encoder's image_size, always the same images in the same order; "key" is
        what each image's random numbers come from. No gradients are kept.

        Raises:
            ConfigurationError: it cannot be asked of this encoder, and of which it can.
        """
        raise NotImplementedError

    def compare(self, findings: Mapping[str, Findings]) -> list[Row]:
        """What several subjects tell together alone, as one table; nothing for most analyses."""
        return []

    def draw(self, findings: Mapping[str, Findings]) -> Figure:
        """One figure of all subjects, by their names, in the order that is given.

        Raises:
            ConfigurationError: they cannot be laid side by side.
        """
        raise NotImplementedError
