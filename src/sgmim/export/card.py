"""The model card: what weights are, what they learnt from, how good they are, and whose."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sgmim import __version__, contamination
from sgmim.export.check import CHECK, Outcome
from sgmim.protocols import by

if TYPE_CHECKING:
    from sgmim.export.subject import Subject

CARD = "README.md"
KNOWN = {  # what the Hub calls licenses
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail", "unknown", "other",
}  # fmt: skip
KINDS = {
    "depth": "depth-estimation",
    "segmentation": "image-segmentation",
    "classification": "image-classification",
}


@dataclass(frozen=True)
class Usage:
    """How an export is used: with which library, by what lines of code."""

    library: str
    code: str  # in which FOLDER is where the export lies


def written(subject: "Subject", usage: Usage, outcome: Outcome) -> str:
    """The card: front matter of the Hub, then Markdown."""
    task = subject.finished.name if subject.finished else None
    front = {
        "license": license_id(subject.header.get("license", "")),
        "library_name": usage.library,
        "pipeline_tag": KINDS.get(task or "", "image-feature-extraction"),
        "tags": ["sgmim", *filter(None, [subject.header.get("method")])],
    }
    if front["license"] == "other":
        front["license_name"] = subject.header["license"]
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {subject.name}",
        _what(subject),
        f"```python\n{usage.code}```",
        _table({"": ""} | _facts(subject)),
        _scores(subject.scores),
        f"This export was opened again by {usage.library} and compared with the model that it was "
        f"made of: it {outcome}. All of it is in {CHECK}.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def for_hub(card: str, repository: str) -> str:
    """A card whose lines of code open a repository."""
    card = card.replace("local-dir:FOLDER", f"hf_hub:{repository}")
    return card.replace('"FOLDER"', f'"{repository}"')


def license_id(said: str) -> str:
    """What the Hub calls a license: "unknown" where nobody has said, "other" if it has no word."""
    name = said.strip().lower().partition(":")[0].replace(" ", "-")
    return name if name in KNOWN else "other" if name else "unknown"


def _what(subject: "Subject") -> str:
    encoder = subject.encoder
    size = by(encoder.image_size)
    count = sum(p.numel() for p in encoder.parameters()) / 1e6
    said = f"`{encoder.name}` for {size} pixels, {count:.1f} M parameters"
    if subject.task is None:
        return f"An image encoder, {said}, made with sgmim {__version__}."
    head = type(getattr(subject.task, "head", subject.task)).__name__
    name = subject.finished.name if subject.finished else ""
    return f"A model for {name}: {said}, and a {head}; made with sgmim {__version__}."


def _facts(subject: "Subject") -> dict[str, str]:
    header = subject.header
    channels = zip(subject.mean, subject.deviation, strict=True)
    normalized = ", ".join(f"(c - {mean:g}) / {deviation:g}" for mean, deviation in channels)
    facts = {
        "learnt by": header.get("method", ""),
        "data": _data(subject.config.get("data") or {}),
        "recipe": header.get("recipe", ""),
        "steps": header.get("step", ""),
        "started from": without_folders(header.get("started_from", "")),
        "imported from": ", ".join(filter(None, map(header.get, ("source", "imported_from")))),
        "input": f"red, green and blue in [0, 1], then {normalized} ({subject.normalization})",
        "license": header.get("license", "") or "nobody has said",
        "teachers that saw benchmarks": _seen(subject.file),
    }
    return {name: text for name, text in facts.items() if text}


def _data(options: dict[str, Any]) -> str:
    """What a run learnt from: names, and no word of where that lay."""
    told = {name: value for name, value in options.items() if value and name in NAMED}
    parts = [f"{NAMED[name]} {Path(str(value)).name}" for name, value in told.items()]
    maps = options.get("maps") or {}
    return ", ".join(parts) + (f"; maps of {', '.join(maps)}" if maps and parts else "")


NAMED = {"dataset": "dataset", "split": "split", "images": "images of", "scenes": "scenes:"}


def _seen(file: Path) -> str:
    found = contamination.handed_on(file)
    return "; ".join(f"{benchmark}: {', '.join(by)}" for benchmark, by in found.items())


def _scores(record: dict[str, Any]) -> str:
    if not record:
        return ""
    protocol = record["protocol"]
    rows = {"score": "", **{name: f"{score:.4f}" for name, score in record["scores"].items()}}
    images = f"{protocol.get('images', '?')} images"
    return f"Scored by the protocol: {protocol['name']}; {images}.\n\n{_table(rows)}"


def _table(rows: dict[str, str]) -> str:
    (head, value), *rest = rows.items()
    lines = [f"| {head} | {value} |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {text.replace('|', '/')} |" for name, text in rest)])


def without_folders(text: str) -> str:
    """A text in which paths are but the names of their ends."""
    return re.sub(r"(?<!\S)(?:[\w.~-]*/)+(?=[^\s/])", "", text)
