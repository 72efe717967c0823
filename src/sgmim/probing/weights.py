"""Which weights were probed, and where what was found of them goes."""

import hashlib
from pathlib import Path

from sgmim.analysis.base import Subject
from sgmim.encoders.files import encoder_file
from sgmim.scores import sha256


def checkpoint(subject: Subject) -> dict[str, str | None]:
    """The "file" of the weights, none of new ones; and the "sha256" of it, or of the weights
    themselves."""
    if subject.run is not None:
        file = encoder_file(subject.run)
        return {"file": str(file), "sha256": sha256(file)}
    digest = hashlib.sha256()
    for name, tensor in subject.encoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return {"file": None, "sha256": digest.hexdigest()}


def place(subject: Subject, out: Path, name: str) -> Path:
    """The file of a record: with the run, or in `out` where there is none."""
    if subject.run is None:
        return out / f"{subject.name}_{name}.json"
    folder = subject.run.parent if subject.run.is_file() else subject.run
    return folder / "probes" / f"{name}.json"
