"""Batches on the device, from a source: endless and random to train on, in order to evaluate on.

What a batch holds is a function of (seed, step): the order comes from sampler.py, the crop of a
sample from its key. Neither workers nor processes have a say in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from sgmim.data.augmentation import Augmentation, CropKind, CutDepth
from sgmim.data.crops import Jitter, Size
from sgmim.data.geometry import NORMALIZATIONS, Interpolation, normalize
from sgmim.data.images import Sample, Source
from sgmim.data.live import Computed, Live
from sgmim.data.loading import Cutter, Fitter, as_it_is, join, stack
from sgmim.data.mixing import Mixing
from sgmim.data.policies import Erasing
from sgmim.data.sampler import Order
from sgmim.data.views import VIEWS, Views
from sgmim.data.workers import load
from sgmim.errors import ConfigurationError, DataError, unknown

Batch = dict[str, Tensor]
PHOTOGRAPHS = ("image", "second")  # of which the colors are normalized


class Batches:
    """Batches to train on: called with a step it iterates from there, without end.

    A batch holds "image" (b, 3, H, W), normalized; the other maps in `needs`, (b, c, H, W); if they
    are needed, "view" (b, 3, H, W) and "parts" (b, n, 3, h, w), normalized too; "key" and "index"
    (b,). `batch` counts the samples of all processes, of which `rank` gets its share.
    Images leave the workers as bytes, and become numbers on the device.

    A broken file is replaced by another, chosen by (seed, epoch, index) alone, and listed in
    `replaced` with the reason. As soon as more files were found broken than `broken_share` of all
    there are, DataError names them. Maps in `live` are computed from the crops. Raises
    ConfigurationError for options that cannot be met.

    Args:
        crop: "resized": a random part of the image, made as large as is asked for (torchvision's
            RandomResizedCrop). "whole": all of it, its shape not kept. "window": a piece that is
            not resized. "jitter": a piece of the image in a random size. Where the image is too
            small for a piece there is a border of the mean color, where maps are unknown.
        scale: of "resized": share of the image's area.
        ratio: of "resized": width / height, evenly spread in its logarithm.
        short_side: of "window": the image is first made so large; 0 leaves it as it is.
        jitter: of "jitter".
        flip: probability of a mirror.
        vertical_flip: probability of standing on its head.
        rotation: degrees; half of the images are turned by up to so many before the crop.
        antialias: where an image or a map is made smaller.
        cut_depth: paint true depth into images, before all else.
        colors: how they are changed after the crop: none, glp, mmseg, multimae, croco,
            moco_first, moco_second, dino_first, dino_second, dino_part (colors.py).
        policy: of augmentation, for images without maps: timm's RandAugment, as
            rand-m9-mstd0.5-inc1, or trivial, torchvision's TrivialAugmentWide (policies.py).
        erasing: paint over a rectangle: how often, and with noise or black.
        mixing: of the images of a batch, by mixup and CutMix (mixing.py), for classification.
        interpolation: of images that are resized; maps have rules of their own.
        views: of a method that compares several crops of a photograph: the colors of the others,
            and how many small ones there are of which size.
        normalization: of colors: imagenet, half (to [-1, 1]), none (in [0, 1]).
        workers: processes that load.
        broken_share: of all files.
    """

    def __init__(
        self,
        source: Source,
        *,
        size: Size,
        batch: int,
        needs: Sequence[str] = ("image",),
        seed: int = 0,
        crop: CropKind = "resized",
        scale: tuple[float, float] = (0.67, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        short_side: int = 0,
        jitter: Jitter | None = None,
        flip: float = 0.5,
        vertical_flip: float = 0.0,
        rotation: float = 0.0,
        antialias: bool = True,
        cut_depth: CutDepth | None = None,
        colors: str = "none",
        policy: str = "",
        erasing: Erasing | None = None,
        mixing: Mixing | None = None,
        interpolation: Interpolation = "bilinear",
        views: Views | None = None,
        normalization: str = "imagenet",
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        broken_share: float = 0.001,
        live: Computed | None = None,
    ):
        self.live = live or Computed()
        _check(source, self.live, needs, normalization)
        augmentation = Augmentation(
            crop=crop,
            scale=scale,
            ratio=ratio,
            short_side=short_side,
            jitter=jitter or Jitter(),
            flip=flip,
            vertical_flip=vertical_flip,
            rotation=rotation,
            antialias=antialias,
            cut_depth=cut_depth,
            colors=colors,
            policy=policy,
            erasing=erasing,
            interpolation=interpolation,
            normalization=normalization,
            views=views or Views(),
        )
        augmentation.check(self.live.sources(_with_image(needs)))
        if workers < 0:
            raise ConfigurationError(
                f"workers are 0 (the run loads by itself) or more, not {workers}"
            )
        if mixing:
            mixing.check(_with_image(needs), batch // world)
        self.mixing = mixing
        self.order = Order(len(source), batch, seed, rank, world)
        self.needs = _with_image(needs)
        self.cutter = Cutter(source, size, self.needs, seed, augmentation, self.live)
        self.normalization, self.workers = normalization, workers
        self.device, self.broken_share = torch.device(device), broken_share
        self.replaced: dict[str, str] = {}  # broken file -> reason, so far
        self.waited = 0.0  # seconds spent waiting for samples, so far

    @property
    def steps_per_epoch(self) -> int:
        return self.order.steps_per_epoch

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        loaded = load(
            self.cutter,
            self.order(start),
            self.workers,
            name=self.cutter.source.names.__getitem__,
            collate_fn=partial(join, mixing=self.mixing),
            pin_memory=self.device.type == "cuda",
        )
        while True:
            began = perf_counter()
            batch, broken = next(loaded)
            self.waited += perf_counter() - began
            self._note(broken)
            if isinstance(batch, DataError):
                raise batch
            yield _on_device(batch, self.device, self.normalization, self.live.device)

    def _note(self, broken: dict[str, str]) -> None:
        self.replaced |= broken
        count = self.order.count
        if broken and len(self.replaced) > self.broken_share * count:
            told = "\n".join(f"  {reason}" for reason in list(self.replaced.values())[:20])
            raise DataError(
                f"{len(self.replaced)} of {count} samples were found broken so far, more than "
                f"broken_share={self.broken_share} allows:\n{told}\n"
                f"repair or remove them, or raise broken_share"
            )


def in_order(
    source: Source,
    *,
    size: Size | None = None,
    batch: int = 64,
    share: float | None = None,
    needs: Sequence[str] = ("image",),
    normalization: str = "imagenet",
    workers: int = 0,
    device: torch.device | str = "cpu",
    broken: dict[str, str] | None = None,
    live: Computed | None = None,
    augmentation: Augmentation | None = None,
    interpolation: Interpolation = "bilinear",
) -> Iterator[Batch]:
    """Batches to evaluate on: every sample once, in order, not cropped at random.

    With a `size` as geometry.fit makes them, of which `share` is the center crop; without, each in
    its own size, and then a batch ends where the size changes. Further views that are needed are
    random crops all the same, as the `augmentation` makes them. A broken file raises DataError; or,
    where a dictionary `broken` is given, is noted there with the reason and left out.
    """
    live, device = live or Computed(), torch.device(device)
    _check(source, live, needs, normalization)
    augmentation = augmentation or Augmentation()
    fitter = Fitter(source, size, _with_image(needs), share, live, augmentation, interpolation)
    waiting: list[Sample] = []
    loaded = load(
        fitter,
        range(len(fitter)),
        workers,
        name=source.names.__getitem__,
        in_batches=False,
        collate_fn=as_it_is,
    )
    for index, sample in enumerate(loaded):
        if isinstance(sample, DataError):
            if broken is None:
                raise sample
            broken[source.names[index]] = str(sample)
            continue
        other = waiting and sample["image"].shape != waiting[0]["image"].shape
        if other or len(waiting) == batch:
            yield _on_device(stack(waiting), device, normalization, live.device)
            waiting = []
        waiting.append(sample)
    if waiting:
        yield _on_device(stack(waiting), device, normalization, live.device)


def _on_device(
    batch: Batch, device: torch.device, normalization: str, live: Mapping[str, Live]
) -> Batch:
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    made = {name: how.of(batch) for name, how in live.items()}
    images = {
        name: normalize(batch[name].flatten(0, -4), normalization).view(batch[name].shape)
        for name in (*PHOTOGRAPHS, *VIEWS)
        if name in batch
    }
    shares = {name: value / 255 for name, value in batch.items() if value.dtype == torch.uint8}
    return batch | shares | made | images


def _with_image(needs: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("image", *needs)))


def _check(source: Source, live: Computed, needs: Sequence[str], normalization: str) -> None:
    missing = [name for name in live.sources(needs) if name not in source.has]
    if missing:
        raise ConfigurationError(
            f"the data has no {' and no '.join(missing)}, only {', '.join(sorted(source.has))}; "
            f"make maps with 'sgmim knowledge NAME IMAGES MAPS'"
        )
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
