"""Ask what encoders have learnt: numbers and figures, of one run or of several together.

    sgmim analyze NAME RUN... --data.images FOLDER        (sgmim list analyses)

RUN is the folder of a run, the file of an encoder, or a checkpoint of others; LEGEND=RUN calls it
LEGEND; 'new' is an encoder like the first of them before any training. In RUN/analysis there are

    NAME.json    numbers and table, and how they were made
    NAME.csv     the table
    NAME.png     the figure, also as NAME.pdf

and of several, or of what has no folder, the same of all together in --out FOLDER.
"""

import json
from collections.abc import Iterator, Sequence
from inspect import cleandoc, signature
from pathlib import Path
from shlex import join
from typing import Any

import torch
from jsonargparse import Namespace

from sgmim import distributed, draws
from sgmim.analysis import figure, records
from sgmim.analysis.base import Analysis, Findings, Subject
from sgmim.analysis.subject import NEW, named, open_subjects
from sgmim.data.batches import in_order
from sgmim.data.derived import Subset
from sgmim.data.images import Source
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch, check_has
from sgmim.options import Parser, contents, find
from sgmim.plain_values import read_recipe
from sgmim.progress import progress
from sgmim.runs import CONFIG
from sgmim.sources import NO_DATA, completed, make_source

ROOM = "analysis"
GIVEN = ("images", "pairs", "shards", "dataset", "scenes")  # one of these says which data


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(cleandoc(__doc__ or ""))
        return
    name, *rest = arguments
    if name.startswith("-"):
        raise ConfigurationError(f"sgmim analyze WHAT? There is {', '.join(contents(ROOM))}")
    config, options = _asked(name, rest)
    analysis = find(ROOM, name)(**{option: config[option] for option in options})
    source = _source(config, analysis.images if config.images is None else config.images)
    device = distributed.start(config.device)
    subjects = open_subjects(
        config.runs, device=device, size=config.size, whole=analysis.whole, changes=analysis.changes
    )
    findings, made = {}, {}
    for subject in subjects:
        findings[subject.name] = _look(analysis, subject, source, config, device)
        made[subject.name] = records.record(
            name,
            analysis.title,
            subject=subject.name,
            findings=findings[subject.name],
            images=len(source),
            options={option: config[option] for option in options},
            data=_told(config.data),
            command=f"sgmim analyze {join(arguments)}",
            run=str(subject.run or NEW),
            encoder={"name": subject.encoder.name, "image_size": subject.encoder.image_size},
        )
    _write(name, analysis, findings, made, config)


def _asked(name: str, arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """What was asked for, and which of it are options of the analysis itself."""
    kind = find(ROOM, name)
    parser = Parser(f"analyze {name}", (kind.__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=str, nargs="+", help="runs, files of encoders, LEGEND=RUN")
    options = parser.add_keywords(kind)
    told = f"how many, evenly spaced over all there are; {kind.images} if not given"
    parser.add_argument("--images", type=int | None, default=None, help=told)
    parser.add_argument("--batch", type=int, default=64, help="images at once")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--size", type=int | tuple[int, int] | None, default=None,
        help="of images, in pixels, if not that of each encoder",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path | None, default=None,
        help=f"folder of what is made of several together; '{records.FOLDER}' if not given",
    )  # fmt: skip
    parser.add("data", make_source)
    parser.set_defaults({"data.scenes": 0, "data.scene_seed": 1, "data.split": "val"})
    given = parser.read(arguments, defaults=False)
    if not any(name in given.get("data", Namespace()) for name in GIVEN):
        arguments = [*_own_data(given.get("runs", [])), *arguments]
    return parser.read(arguments), options


def _own_data(words: Sequence[str]) -> list[str]:
    """The data of the first that is a run, as options: where nothing else is said."""
    for place in named(words).values():
        if (path := Path(place) / CONFIG).is_file():
            data = read_recipe(path).get("data") or {}
            return [f"--data.{n}={_word(v)}" for n, v in data.items() if v is not None]
    raise ConfigurationError(NO_DATA)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _source(config: Namespace, images: int) -> Source:
    source = make_source(**config.data.as_dict())
    if source is None:
        raise ConfigurationError(NO_DATA)
    if images < 1 or config.batch < 1:
        raise ConfigurationError("--images and --batch are 1 or more")
    return Subset(source, count=min(images, len(source)))


def _look(
    analysis: Analysis, subject: Subject, source: Source, config: Namespace, device: torch.device
) -> Findings:
    """What an analysis finds of one subject."""
    needs = analysis.needed(subject)
    source, live = completed(source, config.data.live, needs)
    check_has(type(analysis).__name__, needs, {*source.has, *live.names})
    batches = in_order(
        source,
        size=subject.encoder.image_size,
        batch=config.batch,
        needs=needs,
        normalization=subject.normalization,
        workers=config.workers,
        device=device,
        live=live,
    )

    def keyed() -> Iterator[Batch]:
        """With what each image's random numbers come from: its place, and nothing else."""
        done = 0
        for batch in batches:
            places = range(done, done := done + len(batch["image"]))
            keys = torch.tensor([draws.key(0, place) for place in places], device=device)
            yield batch | {"key": keys}
            tell(done, len(source))

    with torch.no_grad(), progress(subject.name) as tell:
        return analysis.look(subject, keyed())


def _write(
    name: str,
    analysis: Analysis,
    findings: dict[str, Findings],
    made: dict[str, records.Record],
    config: Namespace,
) -> None:
    """Write the findings of each run into its folder, those of all together into another."""
    homeless = False
    for subject, found in findings.items():
        run = Path(made[subject]["run"])
        if not run.is_dir():
            homeless = True
            continue
        with figure.style():
            drawn = analysis.draw({subject: found})
        records.write(run / records.FOLDER, name, made[subject], found.rows, drawn)
        print(run / records.FOLDER / f"{name}.png")
    if len(findings) > 1 or homeless or config.out:
        folder = config.out or Path(records.FOLDER)
        rows = [{"subject": s, **row} for s, found in findings.items() for row in found.rows]
        whole = records.joint(list(made.values()), analysis.compare(findings))
        with figure.style():
            drawn = analysis.draw(findings)
        records.write(folder, name, whole, rows, drawn)
        print(folder / f"{name}.png")
    print(records.told(findings))


def _told(data: Namespace) -> dict[str, Any]:
    """What the data is: what was said of it, of all that can be."""
    usual = {name: option.default for name, option in signature(make_source).parameters.items()}
    told = {name: value for name, value in data.as_dict().items() if value != usual[name]}
    return {name: value for name, value in told.items() if data.scenes or "scene" not in name}
