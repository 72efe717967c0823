"""Score frozen features: a linear classifier on them, or their nearest neighbors.

    sgmim probe linear RUN [RUN ...] --preset kamim --data.images FOLDER --data.labels folders
                       (--test.images FOLDER --test.labels folders | --test_share 0.3) [--seeds 3]
    sgmim probe knn RUN [RUN ...] --data.images FOLDER --data.labels folders

RUN is the folder of a run, the file of an encoder, or a checkpoint of others; LEGEND=RUN calls it
LEGEND; 'new' is an encoder like the first of them before any training. Each gets its record as
RUN/probes/NAME.json, what has no folder in --out (docs/probing.md).
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from sgmim import contamination, distributed, scores
from sgmim.analysis.subject import open_subjects
from sgmim.errors import ConfigurationError, unknown
from sgmim.files import write_text
from sgmim.options import Parser
from sgmim.probing.banks import Extraction, banks
from sgmim.probing.labeled import Exam, exam, labeled
from sgmim.probing.linear import LinearProbe
from sgmim.probing.neighbors import Neighbors
from sgmim.probing.presets import PRESETS
from sgmim.probing.records import Probe, record, table, told
from sgmim.probing.weights import place
from sgmim.sources import NO_DATA, make_source

KINDS: dict[str, Any] = {"linear": LinearProbe, "knn": Neighbors}
PARTS = {"train", "val", "test", "images"}  # folders whose name is not that of the data


def main(arguments: Sequence[str]) -> None:
    kind, config = _read(arguments)
    device = distributed.start(config.device)
    questions = _exam(config)
    how = KINDS[kind](**config[kind].as_dict())
    extraction = Extraction(**config.features.as_dict())
    done = Probe(kind, config.preset, extraction, asdict(how), questions.told(), arguments)
    made: dict[str, scores.Record] = {}
    for subject in open_subjects(config.runs, device=device, size=config.image_size):
        readings = extraction.readings(subject, config.preset)
        found = banks(subject, questions, readings, extraction, device)
        for reading, (train, test) in zip(readings, found, strict=True):
            outcomes = how.outcomes(train, test, questions.classes, config.get("seeds", 1))
            layer = f"_layer{reading.layer}" if len(readings) > 1 else ""
            one = made[subject.name + layer] = record(done, subject, reading, outcomes)
            scores.write(place(subject, config.out, _name(kind, config) + layer), one)
    _tell(made, config)


def _tell(made: dict[str, scores.Record], config: Namespace) -> None:
    """Print the records, with a warning where a model knows the benchmark."""
    first, *others = made.values()
    print(table(made) if others else told(first))
    benchmark = config.test.benchmark or config.data.benchmark or config.data.dataset
    for each in made.values():
        if warning := contamination.warning(contamination.handed_on(each["run"]), benchmark):
            print(warning, file=sys.stderr)
    if config.json:
        write_text(config.json, json.dumps(list(made.values()), indent=2) + "\n")


def _read(arguments: Sequence[str]) -> tuple[str, Namespace]:
    """Which probe, and its options: those given, the preset's, those of the signatures."""
    kind = next((word for word in arguments if not word.startswith("-")), "linear")
    if kind not in KINDS:
        raise unknown("probe", kind, KINDS)
    parser = _parser(kind)
    asked = parser.read(arguments)
    if asked.preset not in PRESETS:
        raise unknown("preset of a probe", asked.preset, PRESETS)
    parts = ("features.", f"{kind}.")
    preset = {n: value for n, value in PRESETS[asked.preset].items() if n.startswith(parts)}
    parser.set_defaults(preset)
    return kind, parser.read(arguments)


def _parser(kind: str) -> Parser:
    parser = Parser("probe", "Score frozen features: a linear classifier, or nearest neighbors.")
    parser.add_argument("probe", type=str, help="linear or knn")
    parser.add_argument(
        "runs", type=str, nargs="+", help="runs, files of encoders, LEGEND=RUN, or new"
    )
    parser.add_argument(
        "--preset", type=str, default="mae",
        help="what is read of an encoder and how it is scored, as a paper has it: mae, kamim",
    )  # fmt: skip
    parser.add_argument(
        "--test_share", type=float | None, default=None,
        help="hold this share of the data out at random, of each class alike, to test on",
    )  # fmt: skip
    if kind == "linear":
        parser.add_argument(
            "--seeds", type=int, default=1,
            help="how often to train: other first weights, order and part that chooses the rate",
        )  # fmt: skip
    parser.add_argument(
        "--image_size", type=int | tuple[int, int] | None, default=None,
        help="make the encoders ones for images of another size first",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--out", type=Path, default=Path("probes"), help="for records of what has no folder"
    )
    parser.add_argument("--name", type=str | None, default=None, help="of the records")
    parser.add_argument("--json", type=Path | None, default=None, help="all records in one file")
    parser.add("features", Extraction)
    parser.add(kind, KINDS[kind])
    parser.add("data", make_source)
    parser.add("test", make_source)
    parser.set_defaults({"data.scenes": 0, "test.scenes": 0, "test.split": "test"})
    return parser


def _exam(config: Namespace) -> Exam:
    """What is known and what is asked about."""
    options = {part: config[part].as_dict() for part in ("data", "test")}
    known, asked = (make_source(**given) for given in options.values())
    if known is None:
        raise ConfigurationError(NO_DATA)
    return exam(
        labeled(known, options["data"], "data"),
        labeled(asked, options["test"], "test") if asked else None,
        config.test_share,
    )


def _name(kind: str, config: Namespace) -> str:
    """Of a record: what was done, on which images."""
    if config.name:
        return config.name
    place = config.data.images or config.data.root or config.data.shards
    words = [part for part in Path(str(place or "")).parts if part not in PARTS]
    data = config.data.dataset or (words[-1] if words else "images")
    return f"{kind}_{config.preset}_{Path(str(data)).stem}"
