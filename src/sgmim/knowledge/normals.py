"""Normals of surfaces: from depth, or as a teacher sees them.

They point towards the camera; x is right, y down, z forward, as everywhere here (pinhole.py).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sgmim import pinhole
from sgmim.data.stored import Note, read_note
from sgmim.errors import ConfigurationError
from sgmim.knowledge import depth as depth_teachers
from sgmim.knowledge.maker import Maker, Reader
from sgmim.knowledge.surfaces import from_depth
from sgmim.knowledge.teachers import Preset, find_teacher, omnidata
from sgmim.knowledge.teachers.functions import Function
from sgmim.knowledge.teachers.pretrained import Pretrained

AUTO = ("AutoModelForNormalEstimation",)
TEACHERS = {
    "tipsv2": Preset("google/tipsv2-b14-dpt", "apache-2.0", "normal", trained_on=("nyu",)),
    "omnidata": Preset("", omnidata.LICENSE, "normal", trained_on=omnidata.TRAINED_ON),
}
# What x, y, z of a teacher are to be multiplied with.
AXES = {"opencv": (1.0, 1.0, 1.0), "opengl": (1.0, -1.0, -1.0)}

NOTE = Note(
    name="normals",
    meaning="unit normals towards the camera: x right, y down, z forward",
    low=-1.0,
    hole=0.0,
    kind="normal",
)


def maker(
    *,
    depth: Path | None = None,
    depth_scale: float | None = None,
    depth_hole: float | None = None,
    depth_teacher: str | None = None,
    teacher: str | None = None,
    revision: str | None = None,
    checkpoint: Path | None = None,
    accept_license: bool = False,
    intrinsics: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    smooth: int = 1,
    axes: Literal["opencv", "opengl"] | None = None,
    trained_on: tuple[str, ...] = (),
) -> Maker:
    """Normals of depth maps (--depth), or by a teacher (--teacher, or --depth_teacher).

    Args:
        depth: a folder of depth maps, called as their images; what they lack, the normals lack.
        depth_scale: of such maps without a knowledge.json: stored number / scale is the depth.
        depth_hole: of such maps, the stored number that says that nothing is known.
        depth_teacher: of 'sgmim knowledge depth', one that gives metric depth;
            da2-metric-indoor-small, if no source is asked for.
        teacher: tipsv2, omnidata, a hub id, a folder, or a function, module:function or
            file.py:function, from colors in [0, 1], (b, 3, H, W), to vectors (b, 3, h, w).
        revision: of a model of the hub: branch, tag or commit. The commit is recorded.
        checkpoint: the file of omnidata.
        accept_license: use a teacher whose license is not permissive; this is recorded.
        intrinsics: the camera of all images: fx, fy, cx, cy in pixels.
        field_of_view: degrees along the longer side, where there are no intrinsics; 60 if not told.
        smooth: average depth over so many pixels a side first, an odd number; 5 suits a Kinect.
        axes: of the teacher's vectors: opencv is x right, y down, z forward; opengl is x right, y
            up, z backward.
        trained_on: benchmarks that the teacher has seen, beside those that are known anyway.

    Raises:
        ConfigurationError: more than one source, or one that cannot give normals.
        DataError: a teacher's weights are damaged.
        FileError: a file or folder is missing.
    """
    sources = [each for each in (depth, depth_teacher, teacher) if each is not None]
    if len(sources) > 1:
        raise ConfigurationError("normals have one source: --depth, --depth_teacher or --teacher")
    asked: dict[str, Any] = {"accept_license": accept_license, "trained_on": tuple(trained_on)}
    if teacher is not None:
        return _seen(teacher, axes, revision, checkpoint, asked)
    if smooth < 1 or smooth % 2 == 0:
        raise ConfigurationError(f"--smooth is an odd number of pixels, not {smooth}")
    lens = pinhole.Lens(intrinsics, field_of_view)
    if depth is not None:
        return _of_maps(depth, {"scale": depth_scale, "hole": depth_hole}, lens, smooth)
    name = depth_teacher or "da2-metric-indoor-small"
    return FromTeacher(depth_teachers.maker(teacher=name, revision=revision, **asked), lens, smooth)


class FromTeacher:
    """Normals of the depth that a teacher sees."""

    def __init__(self, teacher: Maker, lens: pinhole.Lens, smooth: int):
        _check_metric(teacher.note.source, teacher.note.kind)
        self.teacher, self.lens, self.smooth = teacher, lens, smooth
        self.note = _of_depth(teacher.note, teacher.note.source, lens, smooth)

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        with torch.autocast(image.device.type, enabled=False):  # the steps of bf16 are stairs
            depth = self.teacher(image)
        depth = F.interpolate(depth, image.shape[-2:], mode="bilinear")
        return from_depth(depth, self.lens, self.smooth)


class Seen:
    """Normals as a teacher sees them."""

    def __init__(self, teacher: Pretrained | Function, axes: str, note: Note):
        self.teacher, self.axes, self.note = teacher, axes, note
        self.checked = False

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 h w"]:
        if isinstance(self.teacher, Function):
            vectors = self.teacher(image, channels=3)
            vectors = 2 * vectors - 1 if self.note.source == "dpt-omnidata" else vectors
        else:
            vectors = self.teacher(image).normals
        signs = torch.tensor(AXES[self.axes], device=vectors.device)[:, None, None]
        normals = F.normalize(vectors.float() * signs, dim=1)
        if not self.checked:
            self._check(normals)
        return normals

    def _check(self, normals: Float[Tensor, "b 3 h w"]) -> None:
        """What is seen faces the camera, so most normals must: the axes are wrong if not."""
        known = normals[:, 2][normals[:, 2].isfinite()]
        if known.numel() and (known > 0).float().mean() > 0.5:
            other = next(each for each in AXES if each != self.axes)
            raise ConfigurationError(
                f"the normals of {self.note.source} point away from the camera if its axes are "
                f"{self.axes}'s; say --axes {other}"
            )
        self.checked = True


def _seen(
    teacher: str,
    axes: str | None,
    revision: str | None,
    checkpoint: Path | None,
    asked: dict[str, Any],
) -> Maker:
    found: Pretrained | Function
    if teacher == "omnidata":
        found = omnidata.teacher(checkpoint, channels=3, **asked)
    else:
        found = find_teacher(teacher, AUTO, TEACHERS, revision=revision, **asked)
    if isinstance(found, Function):
        axes = axes or "opencv"
    if axes is None:
        raise ConfigurationError(f"which way do x, y, z of {teacher} go? Say --axes")
    return Seen(found, axes, found.origin.noted(replace(NOTE, version=axes)))


def _of_maps(folder: Path, how: dict[str, float | None], lens: pinhole.Lens, smooth: int) -> Reader:
    """Normals of the depth maps that lie on the images; the colors do not matter."""
    note = read_note(folder) or Note()
    _check_metric(str(folder), note.kind or "metric")

    def normals(depth: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 3 H W"]:
        return from_depth(depth, lens, smooth)

    found: dict[str, dict[str, Any]] = {"maps": {"depth": folder}}
    found |= {key: {"depth": value} for key, value in how.items() if value is not None}
    return Reader(
        normals, _of_depth(note, note.source or folder.name, lens, smooth), "depth", found
    )


def _of_depth(depth: Note, source: str, lens: pinhole.Lens, smooth: int) -> Note:
    """What is to be known of normals of such depth; its license and benchmarks are theirs."""
    made = f"{lens}, smooth {smooth}" + (f", depth {depth.version}" if depth.version else "")
    return replace(
        NOTE,
        source=f"depth of {source}",
        version=made,
        license=depth.license,
        accepted=depth.accepted,
        trained_on=depth.trained_on,
    )


def _check_metric(source: str, kind: str | None) -> None:
    if kind != "metric":
        raise ConfigurationError(
            f"the depth of {source} is {kind}: but for an unknown factor and offset, which bend "
            "every surface; normals need metric depth"
        )
