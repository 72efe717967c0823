"""Whether what was exported says what the model says, to be told and kept."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim import __version__
from sgmim.errors import DataError
from sgmim.protocols import by

CHECK = "check.json"  # in the folder of an export
TOLERANCE = 1e-4  # of the largest number, or of 1 where all are smaller
Size = tuple[int, int]  # pixels, down and across


@dataclass(frozen=True)
class Pair:
    """What both say of the same images."""

    what: str  # "features", or what a task predicts
    image: Float[Tensor, "b c H W"]
    ours: Tensor
    theirs: Tensor

    @property
    def difference(self) -> float:
        """The largest, as a share of the largest number, or of 1 where all are smaller."""
        if self.ours.shape != self.theirs.shape:
            return torch.inf
        largest = (self.ours - self.theirs).abs().max() / self.ours.abs().max().clamp(min=1)
        return torch.inf if largest.isnan() else largest.item()

    def told(self) -> dict[str, Any]:
        batch, _, *size = self.image.shape
        difference = self.difference
        return {"of": self.what, "batch": batch, "size": size, "difference": difference}


@dataclass(frozen=True)
class Outcome:
    """Of a check that went well."""

    kind: str  # of the export
    rows: tuple[dict[str, Any], ...]
    note: str  # on the sizes

    @property
    def largest(self) -> float:
        return max(row["difference"] for row in self.rows)

    @property
    def sizes(self) -> list[str]:
        return list(dict.fromkeys(by(row["size"]) for row in self.rows))

    def __str__(self) -> str:
        where = ", ".join(self.sizes)
        return f"differs by {self.largest:.1e} at most, at {where} ({self.note})"

    def as_json(self) -> str:
        told = {
            "format": self.kind,
            "difference": self.largest,
            "allowed": TOLERANCE,
            "measured": "largest difference as a share of the largest number, or of 1",
            "checks": self.rows,
            "note": self.note,
            "sgmim": __version__,
            "torch": torch.__version__,
        }
        return json.dumps(told, indent=2) + "\n"


def checked(kind: str, pairs: Iterable[Pair], note: str) -> Outcome:
    """Compare all pairs. Raises DataError at the first that differs by more than TOLERANCE."""
    rows = []
    for pair in pairs:
        rows.append(pair.told())
        if not pair.difference <= TOLERANCE:
            raise DataError(
                f"the {kind} export is not what the model is: its {pair.what} of "
                f"{by(pair.image.shape[2:])} pixels differ by {pair.difference:.1e}, and "
                f"{TOLERANCE:.0e} is allowed; nothing was written"
            )
    return Outcome(kind, tuple(rows), note)


def probe(batch: int, channels: int, size: Size) -> Float[Tensor, "b c H W"]:
    """Images to compare on, always the same: colors in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, *size, generator=generator)
