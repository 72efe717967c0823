"""Teachers: models of others, from the hub or a folder, and functions of one's own.

A teacher is said in one word: the name of a preset, a hub id ("org/model"), a folder that
save_pretrained left, or a function: "module:function" or "path/to/file.py:function".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgmim.errors import ConfigurationError, FileError, unknown
from sgmim.knowledge.teachers.functions import Function, fingerprint, imported
from sgmim.knowledge.teachers.licenses import (
    UNSTATED,
    Origin,
    agreed,
    license_of,
    read_card,
    seen_by,
)
from sgmim.knowledge.teachers.pretrained import Pretrained, fetched, load

FUNCTION = re.compile(r"(.+):([A-Za-z_]\w*)")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Preset:
    """A teacher that is known by name, and what is known of it."""

    hub: str  # its id; "" for one that is a checkpoint file of one's own
    license: str
    kind: str = ""  # as `Note.kind`
    direction: str | None = None  # as `Note.direction`
    trained_on: tuple[str, ...] = ()


def find_teacher(
    teacher: str,
    autos: Sequence[str],
    presets: Mapping[str, Preset],
    *,
    revision: str | None = None,
    accept_license: bool = False,
    trained_on: tuple[str, ...] = (),
) -> Pretrained | Function:
    """Load a teacher.

    Args:
        teacher: a preset, hub id, folder or function.
        autos: the classes of transformers that load such models.
        presets: by name.
        revision: of a model of the hub: a branch, tag or commit.
        accept_license: use it though its license is not permissive.
        trained_on: benchmarks that it is known to have seen, beside those that are known anyway.

    Raises:
        ConfigurationError: there is no such teacher, it is none for this, it cannot be reached, or
            its license has to be accepted.
        DataError: its weights are damaged, or not all there.
        FileError: there is no such file or folder.
    """
    if found := FUNCTION.fullmatch(teacher):
        where, name = found.groups()
        function, version = imported(where, name)
        own = Origin(f"{Path(where).name}:{name}", version, trained_on=trained_on)
        return Function(teacher, function, own)
    preset = known(teacher, presets)
    where = preset.hub if preset else teacher
    if Path(where).is_dir():
        card, version = read_card(Path(where) / "README.md"), _weights(Path(where))
        license, commit = license_of(card) or UNSTATED, None
    elif HUB_ID.fullmatch(where) and not where.startswith("."):
        if preset:  # whose license needs no network to be known
            agreed(teacher, preset.license, accept_license)
        version = commit = fetched(where, "config.json", revision).parent.name
        card = read_card(fetched(where, "README.md", commit, needed=False))
        license = preset.license if preset else license_of(card) or ""
    else:
        raise _nowhere(teacher, presets)
    accepted = agreed(teacher, license, accept_license)  # before gigabytes are fetched
    model, processor = load(autos, where, commit)
    name = Path(where).name
    seen = {*trained_on, *(preset.trained_on if preset else seen_by(name, card))}
    source = where if commit else name
    origin = Origin(source, version, license, accepted, tuple(sorted(seen)))
    return Pretrained(model, processor, origin)


def known(teacher: str, presets: Mapping[str, Preset]) -> Preset | None:
    """What is known of a teacher, by its name here or on the hub."""
    by_id = {preset.hub: preset for preset in presets.values()}
    return presets.get(teacher) or (by_id.get(teacher) if teacher else None)


def _weights(folder: Path) -> str:
    """The weights in a folder, by their sum: another model of that name is another teacher."""
    files = sorted(folder.glob("*.safetensors"))
    return fingerprint(*files) if files else ""


def _nowhere(teacher: str, presets: Mapping[str, Preset]) -> Exception:
    if Path(teacher).is_file():
        return ConfigurationError(
            f"{teacher} is a file; a teacher is a folder that save_pretrained left, a hub id, or a "
            f"function, {teacher}:NAME"
        )
    if "/" in teacher or teacher.startswith("."):
        return FileError(f"there is no folder {teacher}, and a hub id looks like org/model")
    return unknown("teacher", teacher, presets)
