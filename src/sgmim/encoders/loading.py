"""The account of a loading: what became of every tensor of a checkpoint and of an encoder."""

from collections import Counter
from dataclasses import dataclass, field

from sgmim.errors import listed


@dataclass
class LoadingReport:
    """What became of the tensors of a checkpoint, and of the parameters of an encoder."""

    source: str
    loaded: list[str]
    resized: list[str]  # loaded, after a change of grid or window
    missing: list[str]  # in the encoder, not in the checkpoint
    renamed: list[str] = field(default_factory=list)  # in the encoder, under another name there
    dropped: dict[str, str] = field(default_factory=dict)  # by the source: which part that is
    unexplained: list[str] = field(default_factory=list)  # in the checkpoint, and nowhere else
    misshapen: list[str] = field(default_factory=list)  # in both, of different shape
    share: float = 0.0  # of the encoder's parameters that were loaded
    tensors: int = 0  # of the checkpoint
    kept: int = 0  # of these, that the encoder's are made of
    license: str = ""  # of the weights; empty where nothing tells
    normalization: str = ""  # of the images that they were trained with

    def __str__(self) -> str:
        parts = [f"{self.source}: {len(self.loaded)} tensors, {self.share:.1%} of the parameters"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} renamed")
        for word in ("resized", "missing", "misshapen", "unexplained"):
            if tensors := getattr(self, word):
                parts.append(f"{len(tensors)} {word} ({listed(tensors, most=3)})")
        if self.dropped:
            parts.append(f"dropped {self.told_of_dropped()}")
        return "; ".join(parts)

    def told_of_dropped(self) -> str:
        """How many tensors of which parts of the source stay behind."""
        counts = Counter(self.dropped.values()).items()
        told = ", ".join(f"{count} of {part}" for part, count in counts)
        return f"{len(self.dropped)}: {told}"
