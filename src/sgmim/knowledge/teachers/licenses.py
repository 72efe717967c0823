"""Under which terms a teacher may be used: what its card says, and who has to agree."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError

PERMISSIVE = frozenset({  # as the hub spells them
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "isc", "zlib",
    "unlicense", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "bsl-1.0", "ncsa",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "afl-3.0", "ecl-2.0", "postgresql", "wtfpl",
})  # fmt: skip
UNSTATED = "unstated"  # of what is one's own: a folder without a card, a function

# Words of a model's name or of the data sets on its card, which say that it knows a benchmark.
SIGNS = {
    "nyu": re.compile(r"\bnyu", re.I),
    "kitti": re.compile(r"(?<!v)\bkitti|\beigen\b", re.I),
    "ade20k": re.compile(r"\bade(20k)?\b|scene_?parse", re.I),
    "cityscapes": re.compile(r"\bcityscapes\b", re.I),
    "coco": re.compile(r"\bcoco\b", re.I),
    "hypersim": re.compile(r"\bhypersim\b", re.I),
}


@dataclass(frozen=True)
class Origin:
    """Where a teacher is from and on what terms, as it is noted beside its maps."""

    source: str
    version: str = ""
    license: str = UNSTATED
    accepted: bool = False  # somebody has taken that license on himself
    trained_on: tuple[str, ...] = ()  # benchmarks

    def noted(self, note: Note) -> Note:
        """A note of maps that it made, with what is to be known of it."""
        version = ", ".join(part for part in (self.version, note.version) if part)
        return replace(note, **asdict(self) | {"version": version})


def agreed(teacher: str, license: str, accept: bool) -> bool:
    """Whether somebody had to take a license on himself, and did.

    Args:
        teacher: its name.
        license: as the hub spells it; "" if nobody says.
        accept: what was answered.

    Raises:
        ConfigurationError: the license is not permissive, and nobody has accepted it.
    """
    if license == UNSTATED or license.lower() in PERMISSIVE:
        return False
    if accept:
        return True
    terms = f"has the license {license}" if license else "states no license"
    raise ConfigurationError(
        f"{teacher} {terms}, which is not a permissive one; if its terms allow what you do, say "
        "--accept_license true, which is recorded beside the maps"
    )


def read_card(readme: Path | None) -> dict[str, Any]:
    """What a model card says of itself, in the lines between '---' that it begins with."""
    if readme is None or not readme.is_file():
        return {}
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(readme) or {}
    except Exception:  # a card can hold anything; one that cannot be read says nothing
        return {}


def license_of(card: dict[str, Any]) -> str | None:
    """The license that a card states, by its own name where it is none of the known ones."""
    stated = card.get("license")
    if isinstance(stated, list):
        stated = " and ".join(map(str, stated))
    return str(card.get("license_name") or stated) if stated else None


def seen_by(name: str, card: dict[str, Any]) -> tuple[str, ...]:
    """Benchmarks that a model's name, or the data sets on its card, speak of."""
    datasets = card.get("datasets") or []
    told = " ".join([name, *map(str, datasets if isinstance(datasets, list) else [datasets])])
    words = re.sub(r"[-_/]", " ", told)
    return tuple(benchmark for benchmark, sign in SIGNS.items() if sign.search(words))
