"""Depth as a teacher sees it: Depth Anything V2 if no other is asked for.

Maps are given as the network gives them, never as the picture of 8 bits that transformers'
pipeline makes for display.
"""

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maker import Maker
from sgmim.knowledge.teachers import Preset, find_teacher, known, omnidata
from sgmim.knowledge.teachers.functions import Function
from sgmim.knowledge.teachers.pretrained import Pretrained, in_fp32

AUTO = ("AutoModelForDepthEstimation",)
NONCOMMERCIAL = "cc-by-nc-4.0"
INVERSE, METRIC = ("inverse", "near_high"), ("metric", "far_high")
V2 = "depth-anything/Depth-Anything-V2"
TEACHERS = {  # licenses and training sets as their cards and papers state them
    "da2-small": Preset(f"{V2}-Small-hf", "apache-2.0", *INVERSE),
    "da2-base": Preset(f"{V2}-Base-hf", NONCOMMERCIAL, *INVERSE),
    "da2-large": Preset(f"{V2}-Large-hf", NONCOMMERCIAL, *INVERSE),
    "da2-metric-indoor-small": Preset(
        f"{V2}-Metric-Indoor-Small-hf", "apache-2.0", *METRIC, trained_on=("hypersim",)
    ),
    "da2-metric-indoor-base": Preset(
        f"{V2}-Metric-Indoor-Base-hf", NONCOMMERCIAL, *METRIC, trained_on=("hypersim",)
    ),
    "da2-metric-indoor-large": Preset(
        f"{V2}-Metric-Indoor-Large-hf", NONCOMMERCIAL, *METRIC, trained_on=("hypersim",)
    ),
    "da2-metric-outdoor-small": Preset(
        f"{V2}-Metric-Outdoor-Small-hf", "apache-2.0", *METRIC, trained_on=("vkitti",)
    ),
    "da2-metric-outdoor-base": Preset(
        f"{V2}-Metric-Outdoor-Base-hf", NONCOMMERCIAL, *METRIC, trained_on=("vkitti",)
    ),
    "da2-metric-outdoor-large": Preset(
        f"{V2}-Metric-Outdoor-Large-hf", NONCOMMERCIAL, *METRIC, trained_on=("vkitti",)
    ),
    "da1-small": Preset("LiheYoung/depth-anything-small-hf", "apache-2.0", *INVERSE),
    "da1-base": Preset("LiheYoung/depth-anything-base-hf", "apache-2.0", *INVERSE),
    "da1-large": Preset("LiheYoung/depth-anything-large-hf", "apache-2.0", *INVERSE),
    "dpt-hybrid": Preset("Intel/dpt-hybrid-midas", "apache-2.0", *INVERSE),  # nearest to the paper
    "dpt-large": Preset("Intel/dpt-large", "apache-2.0", *INVERSE),
    "dpt-beit-large": Preset(
        "Intel/dpt-beit-large-512", "mit", *INVERSE, trained_on=("kitti", "nyu")
    ),
    "zoedepth": Preset("Intel/zoedepth-nyu-kitti", "mit", *METRIC, trained_on=("kitti", "nyu")),
    "glpn-nyu": Preset("vinvino02/glpn-nyu", "apache-2.0", *METRIC, trained_on=("nyu",)),
    "glpn-kitti": Preset("vinvino02/glpn-kitti", "apache-2.0", *METRIC, trained_on=("kitti",)),
    "depth-pro": Preset("apple/DepthPro-hf", "apple-amlr", *METRIC),
    "tipsv2": Preset("google/tipsv2-b14-dpt", "apache-2.0", *METRIC, trained_on=("nyu",)),
    "dpt-omnidata": Preset(  # the paper's own
        "", omnidata.LICENSE, "relative", "far_high", trained_on=("hypersim",)
    ),
}
TYPES = {  # what models of a type give, where nobody says
    "dpt": INVERSE,
    "glpn": METRIC,
    "zoedepth": METRIC,
    "depth_pro": METRIC,
    "prompt_depth_anything": METRIC,
    "tipsv2_dpt": METRIC,
}
WORDS = {
    "inverse": "1 / depth, but for a factor and an offset of each image's own",
    "relative": "depth, but for a factor and an offset of each image's own",
    "metric": "depth in meters",
}


def maker(
    *,
    teacher: str = "da2-small",
    revision: str | None = None,
    checkpoint: Path | None = None,
    accept_license: bool = False,
    kind: Literal["inverse", "relative", "metric"] | None = None,
    direction: Literal["near_high", "far_high"] | None = None,
    size: int | None = None,
    square: bool = False,
    trained_on: tuple[str, ...] = (),
) -> Maker:
    """Depth as a teacher sees it.

    Args:
        teacher: a preset (docs/teachers.md), a hub id, a folder that save_pretrained left, or a
            function, module:function or file.py:function, from colors in [0, 1], (b, 3, H, W), to
            (b, 1, h, w), NaN where it knows nothing.
        revision: of a model of the hub: branch, tag or commit. The commit is recorded.
        checkpoint: the file of dpt-omnidata.
        accept_license: use a teacher whose license is not permissive; this is recorded.
        kind: what the teacher gives; needed of a function, and of a model that nobody knows.
        direction: which end of that is high, where the kind does not say it: of relative depth.
        size: pixels of the shorter side that the teacher is shown; what it was made for if not
            given.
        square: show it squares, the shape of the image not kept: all images in equal batches.
        trained_on: benchmarks that the teacher has seen, beside those that are known anyway.

    Raises:
        ConfigurationError: the teacher is unknown, none for depth, out of reach, or not allowed.
        DataError: its weights are damaged.
        FileError: its file or folder is missing.
    """
    asked: dict[str, Any] = {"accept_license": accept_license, "trained_on": tuple(trained_on)}
    preset = known(teacher, TEACHERS)
    found: Pretrained | Function
    if teacher == "dpt-omnidata":
        found = omnidata.teacher(checkpoint, channels=1, **asked)
    elif checkpoint is not None:
        raise ConfigurationError("--checkpoint is of dpt-omnidata; give a folder as the --teacher")
    else:
        found = find_teacher(teacher, AUTO, TEACHERS, revision=revision, **asked)
    kind_, direction_ = _kind(teacher, kind, direction, preset, found)
    about = Note(name="depth", meaning=WORDS[kind_], kind=kind_, direction=direction_)
    note = found.origin.noted(about)
    if isinstance(found, Pretrained):
        return Depth(found, note, size, square)
    if size or square or revision:
        raise ConfigurationError(f"--size, --square and --revision are not for {teacher}")
    return Own(found, replace(note, hole=0.0))


class Own:
    """Depth by a function of one's own."""

    def __init__(self, function: Function, note: Note):
        self.function, self.note = function, note

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 h w"]:
        return self.function(image, channels=1)


class Depth:
    """Depth by a model of transformers, in the size that it works in."""

    def __init__(
        self, teacher: Pretrained, note: Note, size: int | None = None, square: bool = False
    ):
        self.teacher, self.note, self.size, self.square = teacher, note, size, square
        self.type = teacher.config.model_type
        last = [m for m in teacher.model.modules() if getattr(m, "out_channels", 0) == 1]
        for layer in last[-1:]:  # in bf16 it would give stairs: 115 values on a map of meters
            in_fp32(layer)
        fixed = getattr(teacher.config, "is_hybrid", False)  # its positions are not resized
        if self.type == "glpn" and (size or square):
            raise ConfigurationError("GLPN takes images at their own size: leave --size out")
        if fixed and size not in (None, teacher.config.image_size):
            raise ConfigurationError(
                f"this DPT takes {teacher.config.image_size} pixels a side only, not {size}"
            )

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 h w"]:
        height, width = image.shape[-2:]
        said = self.teacher(image, **self._shown(height, width))
        return self._raw(said, height, width)[:, None].float()

    def _shown(self, height: int, width: int) -> dict[str, Any]:
        """In which size the teacher is shown an image, as its processor is told it.

        Where that would keep an image's shape by scaling it as little as possible, which shows
        small photographs smaller than the teacher was made for, the shorter side has its size
        instead, as in the code of Depth Anything V2's authors ("lower_bound").
        """
        processor = self.teacher.processor
        own = dict(getattr(processor, "size", None) or {})
        if "height" not in own:
            return {}
        least = (self.size or own["height"], self.size or own["width"])
        if self.square:
            least = (min(least), min(least))
        keeps = getattr(processor, "keep_aspect_ratio", None)
        if self.type == "zoedepth":  # pads the image first, and is made for "as little"
            changed = {"size": {"height": least[0], "width": least[1]}}
            return changed | {"keep_aspect_ratio": not self.square} if self.size else {}
        if keeps and not self.square:
            least = lower_bound(height, width, least, int(processor.ensure_multiple_of or 1))
        told = {"size": {"height": least[0], "width": least[1]}}
        return told if keeps is None else told | {"keep_aspect_ratio": False}

    def _raw(self, said: Any, height: int, width: int) -> Float[Tensor, "b h w"]:
        processor, depth = self.teacher.processor, said.predicted_depth
        if self.type == "zoedepth":  # without the border that it adds
            size = (height, width)
        elif self.type == "depth_pro":  # meters, by the field of view that it sees
            size = (depth.shape[-2], depth.shape[-1])
        else:
            return depth
        own = processor.post_process_depth_estimation(said, [size] * len(depth))
        return torch.stack([each["predicted_depth"] for each in own])


def lower_bound(height: int, width: int, least: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The smallest size of an image's own shape that covers `least`, in multiples."""
    scale = max(least[0] / height, least[1] / width)
    down, across = (
        multiple * (near if multiple * near >= low else ceil(scale * side / multiple))
        for side, low in zip((height, width), least, strict=True)
        for near in [round(scale * side / multiple)]
    )
    return down, across


def _kind(
    name: str,
    kind: str | None,
    direction: str | None,
    preset: Preset | None,
    found: Pretrained | Function,
) -> tuple[str, str]:
    """Kind and direction of a teacher's depth: as told, else as known."""
    sure: tuple[str | None, str | None] = (None, None)
    if preset:
        sure = (preset.kind, preset.direction)
    elif isinstance(found, Pretrained):
        config = found.config
        if found.config.model_type == "depth_anything":
            sure = METRIC if config.depth_estimation_type == "metric" else INVERSE
        else:
            sure = TYPES.get(found.config.model_type, sure)
    if kind is not None and kind != sure[0]:
        sure = (kind, dict([INVERSE, METRIC]).get(kind))
    elif kind is None and sure[0] is None:
        raise ConfigurationError(f"what does {name} give? Say --kind inverse, relative or metric")
    said = direction or sure[1]
    if said is None:
        raise ConfigurationError(f"which end of {name}'s depth is high? Say --direction")
    assert sure[0] is not None, "see above"
    return sure[0], said
