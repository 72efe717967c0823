"""Make maps of structured knowledge for a folder of images.

    sgmim knowledge NAME IMAGES MAPS [options]
    torchrun --nproc-per-node 8 -m -- sgmim knowledge NAME IMAGES MAPS [options]

May be stopped or killed at any time: the same command goes on. MAPS/knowledge.json says what the
values mean. 'sgmim list knowledge' names what there is, 'sgmim knowledge NAME --help' its options.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from sgmim import distributed
from sgmim.data.decoding import MAX_PIXELS
from sgmim.data.images import Images
from sgmim.errors import ConfigurationError, DataError
from sgmim.files import write_whole
from sgmim.knowledge.maker import Reader
from sgmim.knowledge.maps import Made, make
from sgmim.knowledge.maps.claiming import BROKEN, CONSTANT
from sgmim.options import Parser, arguments, contents, find
from sgmim.progress import progress
from sgmim.reports.previews import preview

PREVIEW = ".preview.png"  # hidden, so that it is no map of an image called "preview"
SHOWN = 20  # broken images that are named
WEEK = 7 * 24 * 3600.0  # seconds; processes wait for the slowest of them


def main(words: Sequence[str]) -> None:
    name, *rest = words or [""]
    if name in ("-h", "--help"):
        print(__doc__)
    elif not name or name.startswith("-"):
        there = ", ".join(contents("knowledge"))
        raise ConfigurationError(f"sgmim knowledge WHAT? There is {there}")
    else:
        with distributed.together():
            _make(name, rest)


def _make(name: str, words: Sequence[str]) -> None:
    build = find("knowledge", name)
    parser = Parser(f"knowledge {name}", (build.__doc__ or "").partition("\n")[0])
    parser.add_argument("images", type=Path, help="a folder of images, or a list (.txt, .csv)")
    parser.add_argument("maps", type=Path, help="the folder to make, or to go on with")
    source = parser.add_keywords(build)
    manner = parser.add_keywords(make, skip={"maker", "images", "folder", "device"})
    _add_surroundings(parser)
    config = parser.read(words)
    device = distributed.start(config.device, timeout=WEEK)
    maker = build(**arguments(build, {option: config[option] for option in source}))
    found = maker.found if isinstance(maker, Reader) else {}
    images = _images(config.images, config.maps, config.root, config.max_pixels, found)
    options = {option: config[option] for option in manner}
    tally = Tally()
    with progress(name) as bar:
        for item in make(maker, images, config.maps, device=device, **options):
            tally.add(item)
            bar(item.number, item.count)
    tally.gather()
    if distributed.is_main():
        tally.tell(config.maps, _draw(images, config.maps, config.confidence))
    tally.check()


def _add_surroundings(parser: Parser) -> None:
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    told = "where the paths of a list start, and may not leave; the list's folder if not given"
    parser.add_argument("--root", type=Path | None, default=None, help=told)
    told = "an image that claims to be larger is passed over as broken"
    parser.add_argument("--max_pixels", type=int, default=MAX_PIXELS, help=told)


def _images(
    images: Path, maps: Path, root: Path | None, max_pixels: int, found: dict[str, Any]
) -> Images:
    if images.is_dir() and maps.resolve().is_relative_to(images.resolve()):
        raise ConfigurationError(
            f"{maps} is inside {images}, where the next command would take maps for images; "
            f"choose a folder beside it"
        )
    return Images(images, root=root, max_pixels=max_pixels, **found)


@dataclass
class Tally:
    """What became of the images, and how long it took."""

    began: float = field(default_factory=perf_counter)
    made: int = 0
    there: int = 0
    constant: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, item: Made) -> None:
        if item.told and distributed.is_main():
            print(item.told, file=sys.stderr)
        if item.error:
            self.broken.append(item.error)
        self.made += item.new and item.error is None
        self.there += not item.new
        self.constant += item.constant

    def gather(self) -> None:
        """Add up what all processes have counted."""
        every = distributed.gathered(self)
        self.made, self.there, self.constant = (
            sum(getattr(each, name) for each in every) for name in ("made", "there", "constant")
        )
        self.broken = [error for each in every for error in each.broken]

    def tell(self, maps: Path, sheet: Path | None) -> None:
        for error in self.broken[:SHOWN]:
            print(f"left out: {error}", file=sys.stderr)
        if len(self.broken) > SHOWN:
            print(f"left out: {len(self.broken) - SHOWN} more", file=sys.stderr)
        parts = [f"{self.made} maps made, {self.there} were there"]
        parts += [f"{len(self.broken)} images are broken{_listed(maps / BROKEN)}"]
        if self.constant:
            parts += [f"{self.constant} maps are constant{_listed(maps / CONSTANT)}"]
        if self.made:
            parts += [f"{self.made / (perf_counter() - self.began):.1f} images a second"]
        if sheet:
            parts += [f"see {sheet}"]
        print(f"{maps}: {', '.join(parts)}")

    def check(self) -> None:
        """Raise DataError where the whole of it cannot be what was wanted."""
        if self.broken and not self.made and not self.there:
            raise DataError(f"none of the {len(self.broken)} images has a map: {self.broken[0]}")
        if self.constant and self.constant == self.made and not self.there:
            raise DataError(
                f"all {self.made} maps are constant: the source sees nothing in these images"
            )


def _listed(path: Path) -> str:
    return f" ({path})" if path.is_file() else ""


def _draw(images: Images, maps: Path, confidence: Path | None) -> Path | None:
    """The sheet to look at; None where there is no map."""
    drawn = preview(images, [maps, *([confidence] if confidence else [])])
    if drawn is None:
        return None
    write_whole(maps / PREVIEW, partial(drawn.save, format="PNG"))
    return maps / PREVIEW
