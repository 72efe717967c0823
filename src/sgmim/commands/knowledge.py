"""Make maps of structured knowledge for a folder of images.

    sgmim knowledge NAME IMAGES MAPS

May be stopped at any time: the same command goes on. MAPS/knowledge.json says what the values mean.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from sgmim import distributed
from sgmim.data.images import Images
from sgmim.errors import DataError
from sgmim.knowledge.maps import make
from sgmim.options import Parser, find


def main(arguments: Sequence[str]) -> None:
    parser = Parser("knowledge", "Make maps of structured knowledge for a folder of images.")
    parser.add_argument("name", type=str, help="which knowledge: edges")
    parser.add_argument("images", type=Path, help="a folder of images, or a list")
    parser.add_argument("maps", type=Path, help="the folder to make")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    config = parser.read(arguments)
    maker = find("knowledge", config.name)()
    images = Images(config.images)
    device, broken, made = distributed.start(config.device), [], 0
    with Progress(disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task(config.name, total=len(images))
        for item in make(maker, images, config.maps, maker.note, device=device):
            progress.update(task, completed=item.number)
            made += item.new and item.error is None
            broken += [item.error] if item.error else []
    for error in broken:
        print(f"left out: {error}", file=sys.stderr)
    there = len(images) - len(broken) - made
    print(f"{config.maps}: {made} maps made, {there} were there, {len(broken)} images are broken")
    if broken and not made and not there:
        raise DataError(f"none of the {len(images)} images could be read")
