"""The published ways to score depth and classes, by name; and how a score's way is called.

The name beside a score is never what somebody asked for: it follows from what was done. A score
that was made otherwise in one point says in which.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sgmim.datasets import ROOM, is_description
from sgmim.errors import unknown
from sgmim.options import find

Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to score.

    Args:
        title: in a line.
        origin: whose it is, and where it is written down.
        task: that is scored.
        images: how many are scored.
        size: of the model, pixels down and across; None is any.
        test: options of the test data.
        score: options of the task's meter.
        inference: how images are shown (inference.py).
        drawn: how many images are taken at random, and numpy's seed of that; None takes all.
    """

    title: str
    origin: str
    task: str
    images: int
    test: Settings
    size: tuple[int, int] | None = None
    score: Settings = field(default_factory=dict)
    inference: Settings = field(default_factory=dict)
    drawn: tuple[int, int] | None = None

    def defaults(self) -> Settings:
        """The options of 'sgmim evaluate' that make it, but for those of the score."""
        test = {f"test.{name}": value for name, value in self.test.items()}
        shown = {f"inference.{name}": value for name, value in self.inference.items()}
        return test | shown | {"drawn": self.drawn}

    def differences(self, made: Settings) -> list[str]:
        """In what a score was made otherwise: what it was, and what it ought to have been."""
        asked = self.test | self.score | self.inference
        asked |= {"drawn": self.drawn, "images": self.images, "exchange": None}
        asked = {name: value for name, value in asked.items() if name != "options"}
        pairs = [(name, made.get(name), value) for name, value in asked.items()]
        if self.size:
            pairs.append(("size", by(made["size"]), by(self.size)))
        ours, theirs = (
            _reader_options(self.test["dataset"], o.get("options")) for o in (made, self.test)
        )
        pairs += [(name, value, theirs[name]) for name, value in ours.items()]
        return [f"{name} {ours} ({theirs})" for name, ours, theirs in pairs if ours != theirs]


def named(made: Settings, asked: str | None = None) -> str:
    """What the way is called in which a score was made.

    Args:
        made: the settings it was made with: those of the test data ("dataset", "split", "options",
            ...), the meter and the inference, "images" and "drawn".
        asked: the protocol that was to be followed; if none, the nearest on the same dataset is.
    """
    there = [asked] if asked else _of(made.get("dataset"))
    if not there:
        dataset = made.get("dataset")
        own = not dataset or is_description(dataset)
        return "none that is published" + ": the test data are one's own" * own
    found = {name: PROTOCOLS[name].differences(made) for name in there}
    nearest = min(found, key=lambda name: len(found[name]))
    return f"as {nearest} but {', '.join(found[nearest])}" if found[nearest] else nearest


def protocol(name: str, task: str) -> Protocol:
    """The protocol of a name. Raises ConfigurationError where the task has none of that name."""
    there = {name: each for name, each in PROTOCOLS.items() if each.task == task}
    if name not in there:
        raise unknown(f"protocol for {task}", name, there)
    return there[name]


def settings(
    test: Mapping[str, Any],
    made: Mapping[str, Any],
    drawn: tuple[int, int] | None = None,
) -> Settings:
    """The settings a score was made with, from the options of its data and what `evaluate` says."""
    told = ("dataset", "split", "options", "short_side", "center", "exchange")
    data = {name: test.get(name) for name in told}
    own = {name: value for name, value in made.items() if name != "inference"}
    shown = made["inference"] | {"size": tuple(made["inference"]["size"])}
    return data | own | shown | {"images": made["images_found"], "drawn": drawn}


def by(size: Sequence[int]) -> str:
    """A size as people write it."""
    return " x ".join(map(str, size))


def _of(dataset: str | None) -> list[str]:
    return [name for name, each in PROTOCOLS.items() if each.test["dataset"] == dataset]


def _reader_options(dataset: str, given: Mapping[str, Any] | None) -> Settings:
    """All options of a dataset's reader: those given, and the reader's own of the others."""
    if is_description(dataset):
        return dict(given or {})
    parameters = inspect.signature(find(ROOM, dataset)).parameters
    kept = {n: p.default for n, p in parameters.items() if n not in ("root", "split")}
    return kept | dict(given or {})


def _test(dataset: str, split: str, **options: Any) -> Settings:
    sized = {"short_side": None, "center": None}
    return {"dataset": dataset, "split": split, "options": options or None, **sized}


def _depth(region: str, *, most: float, **other: Any) -> Settings:
    usual = {"region_frame": "kb", "clamp": False, "scaling": "none"}
    return {"region": region, "min_depth": 1e-3, "max_depth": most} | usual | other


MULTIMAE = "Bachmann et al., MultiMAE, arXiv:2204.01678, and its code; no region, clamped"
FEW_SHOT = _test("nyu", "test", form="labeled", depths="filled")
FEW_SHOT |= {"short_side": 256, "center": 256}

PROTOCOLS: dict[str, Protocol] = {
    "kitti_mimd": Protocol(
        title="depth on KITTI in 16 shifted windows: Tables 1 and 2 of SG-MIM",
        origin="Xie et al., MIM-Depth-Estimation, arXiv:2205.13543, and its code",
        task="depth",
        images=652,
        size=(352, 352),
        test=_test("kitti", "test", crop="kb"),
        score=_depth("garg", most=80.0),
        inference={"mode": "shift", "windows": 16, "compat": True, "flip": True},
    ),
    "kitti_bts": Protocol(
        title="depth on KITTI, one look, the region taken of the uncut image",
        origin="Lee et al., From Big to Small, arXiv:1907.10326, and its eval_with_pngs",
        task="depth",
        images=652,
        test=_test("kitti", "test", crop="kb"),
        score=_depth("garg", most=80.0, region_frame="full", clamp=True),
        inference={"mode": "whole", "flip": False},
    ),
    "nyu_multimae": Protocol(
        title="depth on NYU-v2 from 795 images: Table 3 of SG-MIM; squares of 256, all 654 images",
        origin=MULTIMAE,
        task="depth",
        images=654,
        size=(256, 256),
        test=FEW_SHOT,
        score=_depth("none", most=10.0, clamp=True),
        inference={"mode": "whole", "flip": False},
    ),
    "nyu_multimae_100": Protocol(
        title="the same on the 100 images that MultiMAE's code takes unless told otherwise",
        origin=MULTIMAE,
        task="depth",
        images=100,
        size=(256, 256),
        test=FEW_SHOT,
        score=_depth("none", most=10.0, clamp=True),
        inference={"mode": "whole", "flip": False},
        drawn=(100, 0),
    ),
    "nyu_full": Protocol(
        title="depth on NYU-v2 from 24,231 images: 480 x 640, Eigen's region, 2 shifted windows",
        origin="Xie et al., MIM-Depth-Estimation, arXiv:2205.13543, and its code, after GLPDepth",
        task="depth",
        images=654,
        size=(480, 480),
        test=_test("nyu", "test", depths="raw", border="black"),
        score=_depth("nyu_eigen", most=10.0),
        inference={"mode": "shift", "windows": 2, "compat": True, "flip": True},
    ),
    "ade20k_slide": Protocol(
        title="150 classes on ADE20K in sliding windows: Table 4 of SG-MIM, as far as it is told",
        origin="mmsegmentation, UperNet on ViT (configs mae and beit)",
        task="segmentation",
        images=2000,
        size=(512, 512),
        test=_test("ade20k", "val"),
        inference={"mode": "slide", "stride": 341, "short": 512, "flip": False},
    ),
    "imagenet_center": Protocol(
        title="1000 classes on ImageNet in the middle of images: MAE, SimMIM, timm",
        origin="He et al., MAE, arXiv:2111.06377, and its code: 224 of what is resized to 256",
        task="classification",
        images=50_000,
        test=_test("imagenet", "val"),
        inference={"mode": "center", "center": 0.875, "interpolation": "bicubic", "flip": False},
    ),
    "imagenet_whole": Protocol(
        title="1000 classes on ImageNet, all of an image, its shape not kept: KAMIM",
        origin="KAMIM, arXiv:2407.13873, and its code",
        task="classification",
        images=50_000,
        test=_test("imagenet", "val"),
        inference={"mode": "whole", "flip": False},
    ),
}
