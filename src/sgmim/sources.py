"""What a run is fed: images of one's own, or scenes."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from sgmim.data.classes import InFolders
from sgmim.data.decoding import MAX_PIXELS
from sgmim.data.derived import Exchanged, Sized, Subset, WithCamera, WithMap
from sgmim.data.images import Images, Source
from sgmim.data.live import Computed, Live, Where
from sgmim.data.noise import Noisy
from sgmim.data.pairs import Pairs
from sgmim.data.scenes import Scenes
from sgmim.data.shards import Shards
from sgmim.datasets import open_dataset
from sgmim.errors import ConfigurationError, unknown
from sgmim.knowledge.live import LIVE

NO_DATA = (
    "there is no data: give --data.images, --data.pairs, --data.dataset, --data.shards or "
    "--data.scenes"
)


def make_source(
    *,
    images: Path | None = None,
    pairs: Path | None = None,
    gap: int = 0,
    shards: str | None = None,
    dataset: str | None = None,
    split: str = "train",
    options: dict[str, bool | int | float | str] | None = None,
    maps: dict[str, Path] | None = None,
    scale: dict[str, float] | None = None,
    hole: dict[str, float] | None = None,
    root: Path | None = None,
    cache: Path | None = None,
    cache_gb: float = 50.0,
    max_pixels: int = MAX_PIXELS,
    scenes: int = 3000,
    scene_size: int = 64,
    scene_seed: int = 0,
    scene_kind: Literal["rooms", "streets", "both"] = "both",
    scene_contrast: float = 1.0,
    part: tuple[float, float] = (0.0, 1.0),
    count: int | None = None,
    short_side: int | None = None,
    center: int | None = None,
    live: dict[str, Where] | None = None,
    camera: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    exchange: str | None = None,
    noise: dict[str, float] | None = None,
    benchmark: str | None = None,
    labels: Literal["folders"] | None = None,
) -> Source | None:
    """Images and maps from folders, shards or a dataset; where none are given, scenes with depth.

    Args:
        images: a folder, at any depth, or a list (.txt, .csv).
        pairs: of photographs of one scene, whose maps lie on the first of each: a list of two paths
            a line (.txt, .csv), or a folder with left/ and right/, or image_2/ and image_3/,
            somewhere; or one of videos, frame by frame, a folder each, with a gap.
        gap: frames that partners of a video are apart.
        shards: what 'sgmim data pack' made of images and maps: a folder, or a URL (s3://...).
        dataset: a benchmark's name (sgmim list datasets), whose folder is the root; or a file in
            YAML that describes one's own.
        split: of the dataset: train, val or test.
        options: of the dataset, see 'sgmim data check NAME --help': --data.options.crop none.
        maps: the folder of each map, which is called as its image, or as the first of a pair:
            --data.maps.depth FOLDER.
        scale: of a map whose folder has no knowledge.json: stored number / scale is the value.
        hole: of such a map, the stored number that says that nothing is known.
        root: a dataset's folder; or where the paths of a list start, and may not leave; the list's
            folder if not given.
        cache: the folder where shards from a URL are kept; ~/.cache/sgmim if not given.
        cache_gb: of 10^9 bytes, what it may hold: all shards, or they are fetched again and again.
        max_pixels: an image that claims to be larger is refused before it is decoded.
        scenes: how many to make; 0, and no images, is no data.
        scene_size: pixels a side.
        scene_seed: other seeds give other scenes.
        scene_kind: of scenes.
        scene_contrast: of the patterns on their surfaces; with less, shapes are learnt sooner.
        part: first and last share of the data, in the order of names; where there are labels, that
            share of each class.
        count: take only so many, evenly spaced.
        short_side: make the shorter side of images and maps so many pixels, the shape kept.
        center: then take the square of so many pixels in the middle.
        live: maps that are computed as the run goes, and where: from the whole "image" as it is
            read, from the "crop", or from the crops on the "device": --data.live '{edges: device}'.
            What is cheap and needed, and has no files, is computed even unasked.
        camera: of all images, where a method asks for one: focal length across and down, middle
            across and down, in pixels of the whole image.
        field_of_view: of that camera, instead: degrees along the longer side of an image, which is
            looked at straight. Where a method asks and neither is given, 60 is assumed.
        exchange: give every image another's map of this name (a control).
        noise: make maps wrong as a teacher's are (data/noise.py), by so much: 0.1 as a good one's,
            0.3 as a poor one's: --data.noise '{depth: 0.3}'. Not of maps computed from crops.
        benchmark: what these images are of (kitti, nyu, ade20k), if no dataset says so: a score on
            them comes with a warning where the model learnt from a teacher trained on it.
        labels: of images in folders of one's own, or packed from such: "folders", where the class
            of an image is the first folder of its path. A dataset brings its own.

    Raises:
        ConfigurationError: options that do not go together.
        DataError: images or maps that are missing or do not fit.
        FileError: a folder that is missing.
    """
    if images is None and pairs is None and (maps or scale or hole):
        raise ConfigurationError("maps, scale and hole go with images: say where these are")
    if pairs is None and gap:
        raise ConfigurationError("gap goes with pairs: say where the videos are")
    if dataset is None and options:
        raise ConfigurationError("options are those of a dataset: say which")
    if images is None and pairs is None and dataset is None and root:
        raise ConfigurationError("root goes with a dataset or with a list of images: say which")
    given = {"images": images, "pairs": pairs, "shards": shards, "dataset": dataset}
    told = [name for name, value in given.items() if value is not None]
    if pairs is not None and shards is not None:
        raise ConfigurationError("shards hold no pairs: give the files of these alone")
    if len(told) > 1:
        raise ConfigurationError(f"{' and '.join(told)} are given; each brings its own images")
    source: Source
    if images is not None:
        source = Images(images, maps, scale=scale, hole=hole, root=root, max_pixels=max_pixels)
    elif pairs is not None:
        source = Pairs(
            pairs, gap=gap, root=root, maps=maps, scale=scale, hole=hole, max_pixels=max_pixels
        )
    elif shards is not None:
        source = Shards(shards, cache=cache, cache_gb=cache_gb, max_pixels=max_pixels)
    elif dataset is not None:
        source = open_dataset(dataset, root, split, options)
    elif scenes:
        source = Scenes(
            scenes, size=scene_size, seed=scene_seed, kind=scene_kind, contrast=scene_contrast
        )
    else:
        return None
    if labels and images is None and shards is None:
        raise ConfigurationError(
            "labels are read from the folders of images or of shards; a dataset brings its own"
        )
    if labels:
        source = InFolders(source)
    if tuple(part) != (0.0, 1.0) or count is not None:
        source = Subset(source, part, count, getattr(source, "labels", None))
    if side := short_side or center:
        source = Sized(source, side, center)
    if camera or field_of_view:
        source = WithCamera(source, camera, field_of_view)
    for name, how in computed(live, "image").items():
        source = WithMap(source, name, how)
    if exchange:
        source = Exchanged(source, exchange)
    return Noisy(source, noise) if noise else source


def computed(live: Mapping[str, Where] | None, where: Where) -> dict[str, Live]:
    """The maps that are to be computed in some place.

    Raises:
        ConfigurationError: a map that cannot be computed as a run goes, or not there.
    """
    for name, place in (live or {}).items():
        if name not in LIVE:
            raise unknown("map that can be computed as a run goes", name, LIVE)
        if place not in LIVE[name].where:
            raise ConfigurationError(
                f"{name} cannot be computed from the {place}, only from the "
                f"{' or the '.join(LIVE[name].where)}"
            )
    return {name: LIVE[name] for name, place in (live or {}).items() if place == where}


def completed(
    source: Source, live: Mapping[str, Where] | None, needs: Collection[str]
) -> tuple[Source, Computed]:
    """What is needed beyond what a source has, and can be had without files: the maps to compute
    from crops, those asked for and the cheap ones; and a source with an assumed camera."""
    asked = dict(live or {})
    for name in needs:
        if name in LIVE and name not in source.has:
            asked.setdefault(name, LIVE[name].where[0])
    later = Computed(computed(asked, "crop"), computed(asked, "device"))
    if "camera" in later.sources(needs) and "camera" not in source.has:
        source = WithCamera(source)
    return source, later
