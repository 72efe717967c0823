"""See what is in a folder of images, pack it for fast loading, check datasets and what was packed.

    sgmim data scan IMAGES          formats, sizes, colors, broken files, how fast they load
    sgmim data pack IMAGES OUT      images and maps to tar shards: --maps.depth FOLDER
    sgmim data check OUT            whether every byte is what was packed
    sgmim data check NAME FOLDER    whether a dataset is whole: 'sgmim list datasets',
                                    or a description of one's own (docs/datasets.md)

'sgmim data scan --help' tells the options of each. OUT is trained on with --data.shards OUT, a
dataset with --data.dataset NAME --data.root FOLDER.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sgmim.data.checking import check
from sgmim.data.listing import MANIFEST
from sgmim.data.packing import BROKEN, as_list, pack
from sgmim.data.scanning import scan
from sgmim.datasets import ROOM, is_description
from sgmim.errors import ConfigurationError, DataError, listed, unknown
from sgmim.files import write_bytes, write_text
from sgmim.inventory import Shelf, about, inventory
from sgmim.options import Parser, contents, find


def main(arguments: Sequence[str]) -> None:
    what, *rest = arguments or [""]
    if what in ("-h", "--help"):
        print(__doc__)
    elif not what or what.startswith("-"):
        raise ConfigurationError(f"sgmim data WHAT? There is {', '.join(JOBS)}")
    elif what not in JOBS:
        raise unknown("job", what, JOBS)
    else:
        JOBS[what](rest)


def scan_images(arguments: Sequence[str]) -> None:
    parser = _parser("scan", "Tell what is in a folder or list of images.", scan)
    parser.add_argument("--gpu", type=float, default=1000.0, help="images a second it trains on")
    parser.add_argument(
        "--broken", type=Path, default=Path("broken.txt"),
        help="the list of broken files to write, with reasons, if there are any",
    )  # fmt: skip
    parser.add_argument("--json", type=Path | None, default=None, help="also write it there")
    config = parser.read(arguments)
    options = config.as_dict()
    rate, broken, json_file = (options.pop(name) for name in ("gpu", "broken", "json"))
    if rate <= 0:
        raise ConfigurationError(f"a GPU trains on more than {rate} images a second")
    with _bar() as bar:
        task = bar.add_task("scan")
        for found, total in scan(**options):
            bar.update(task, completed=found.count, total=total)
    report = found.report(rate)
    print(told(report))
    if found.broken:
        write_bytes(broken, as_list(found.broken))
        print(f"{'broken':<12} listed in {broken}")
    if json_file:
        write_text(json_file, json.dumps(report, indent=2) + "\n")
    if len(found.broken) == found.count:
        raise DataError(f"none of the {found.count} images can be read")


def told(report: dict[str, Any]) -> str:
    """What a scan found, for people."""
    lines = {"images": f"{report['images']:,}, {report['bytes'] / 1e9:.3g} GB"}
    if "formats" in report:
        for name in ("formats", "modes"):
            lines[name] = ", ".join(f"{key} {count:,}" for key, count in report[name].items())
        sides = ", ".join(f"{share} {side}" for share, side in report["short_side"].items())
        lines["short side"] = f"{sides} pixels (quantiles)"
        lines["mean"] = " ".join(f"{value:.3f}" for value in report["mean"])
        lines["deviation"] = " ".join(f"{value:.3f}" for value in report["deviation"])
        lines["loading"] = (
            f"{report['images_per_second_and_core']:.0f} images a second and core: "
            f"{report['workers_per_gpu']} workers for a GPU that takes "
            f"{report['images_per_second_of_gpu']:.0f}"
        )
    lines["broken"] = f"{report['broken']:,}"
    return "\n".join(f"{name:<12} {line}" for name, line in lines.items())


def pack_images(arguments: Sequence[str]) -> None:
    config = _parser("pack", "Pack images and maps into tar shards.", pack).read(arguments)
    broken: dict[str, str] = {}
    with _bar() as bar:
        task = bar.add_task("pack")
        for packed in pack(**config.as_dict()):
            bar.update(task, completed=packed.number, total=packed.count)
            broken |= packed.broken
    listed = f", {len(broken)} broken ones left out, see {config.out / BROKEN}" if broken else ""
    print(f"{config.out} is packed{listed}; train on it with --data.shards {config.out}")


def check_what(arguments: Sequence[str]) -> None:
    """Check a dataset, if its name comes first, or what was packed."""
    name = arguments[0] if arguments else ""
    if is_description(name) or (name in contents(ROOM) and not (Path(name) / MANIFEST).is_file()):
        check_dataset(name, arguments[1:])
    elif len(arguments) > 1 and not any(word.startswith("-") for word in arguments[:2]):
        raise unknown("dataset", name, contents(ROOM))
    else:
        check_packed(arguments)


def check_dataset(name: str, arguments: Sequence[str]) -> None:
    told = about(name)
    parser = Parser(f"data check {name}", f"Tell what of {told.title} is there, and what is not.")
    parser.add_argument("root", type=Path, help="the dataset's folder")
    parser.add_argument("--samples", type=int, default=8, help="of a split, that are read")
    options: list[str] = []
    if not is_description(name):
        options = parser.add_keywords(find(ROOM, name), skip={"root", "split"})
    if not arguments:
        raise ConfigurationError(
            f"sgmim data check {name} FOLDER? {told.title} is to be had from {told.origin}"
        )
    config = parser.read(arguments)
    given = {option: config[option] for option in options if config[option] is not None}
    print(f"{'dataset':<12} {told.title} in {config.root}")
    short = []
    for shelf in inventory(name, config.root, given, config.samples):
        print("\n".join(f"{title:<12} {line}" for title, line in of_shelf(shelf)))
        short += [shelf.split] * (not shelf.is_whole)
    print(f"{'from':<12} {told.origin}\n{'license':<12} {told.license}")
    if short:
        raise DataError(f"{told.title} in {config.root} is not whole: see {listed(short)}")


def of_shelf(shelf: Shelf) -> Iterator[tuple[str, str]]:
    """What was found of a split, for people."""
    whole = "" if shelf.expected is None else f" of {shelf.expected:,}"
    beside = f"; {shelf.without_truth} more have no ground truth" if shelf.without_truth else ""
    yield shelf.split, f"{shelf.count:,}{whole} samples{beside}"
    if shelf.missing:
        yield "", f"{len(shelf.missing):,} files are missing: {listed(list(shelf.missing), 3)}"
    if shelf.sizes:
        sizes = ", ".join(f"{height} x {width}" for height, width in sorted(shelf.sizes)[:3])
        share = sum(shelf.known) / len(shelf.known)
        ends = " to ".join(f"{value:.4g}" for value in shelf.values)
        empty = f"; {shelf.known.count(0)} know nothing" if 0 in shelf.known else ""
        read = f"{len(shelf.known)} read: {sizes} pixels"
        known = f"{share:.0%} of them known" if shelf.truth != "label" else "a label each"
        yield "", f"{read}, {known}{', ' * bool(ends)}{ends}{empty}"
    for fault in shelf.faults[:5]:
        yield "", fault


def check_packed(arguments: Sequence[str]) -> None:
    config = _parser("check", "Check every byte of what was packed.", check).read(arguments)
    faults: list[str] = []
    with _bar() as bar:
        task = bar.add_task("check")
        for checked in check(**config.as_dict()):
            bar.update(task, completed=checked.number, total=checked.count)
            for fault in checked.faults:
                print(fault, file=sys.stderr)
            faults += checked.faults
    if faults:
        raise DataError(f"{config.out} has {len(faults)} faults; pack it again where they are")
    print(f"{config.out}: {checked.count} shards are as they were packed")


JOBS: dict[str, Callable[[Sequence[str]], None]] = {
    "scan": scan_images,
    "pack": pack_images,
    "check": check_what,
}


def _parser(job: str, description: str, build: Callable) -> Parser:
    """A parser of what a function takes: what has no default is given by its place."""
    parser = Parser(f"data {job}", description)
    parser.add_function_arguments(build, as_group=False, as_positional=True)
    return parser


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), disable=not sys.stdout.isatty())
