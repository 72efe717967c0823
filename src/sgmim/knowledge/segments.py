"""What is where: class numbers by a segmentation teacher, Mask2Former if no other is asked for.

Its numbers are those of COCO's 133 classes, as in MultiMAE's released labels.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maker import Maker
from sgmim.knowledge.teachers import Preset, find_teacher
from sgmim.knowledge.teachers.functions import Function
from sgmim.knowledge.teachers.pretrained import Pretrained

AUTO = ("AutoModelForUniversalSegmentation", "AutoModelForSemanticSegmentation")
HOLE = 65535.0  # the stored number of pixels of no class
TEACHERS = {
    "mask2former-coco": Preset(  # MultiMAE's own; the card has the license "other", the code MIT
        "facebook/mask2former-swin-small-coco-panoptic", "mask2former (other)", trained_on=("coco",)
    ),
    "eomt-coco": Preset("tue-mps/coco_panoptic_eomt_large_640", "mit", trained_on=("coco",)),
    "tipsv2-ade": Preset("google/tipsv2-b14-dpt", "apache-2.0", trained_on=("ade20k",)),
}


def maker(
    *,
    teacher: str = "mask2former-coco",
    revision: str | None = None,
    accept_license: bool = False,
    trained_on: tuple[str, ...] = (),
) -> Maker:
    """Class numbers by a segmentation teacher.

    Args:
        teacher: a preset (docs/teachers.md), a hub id, a folder that save_pretrained left, or a
            function, module:function or file.py:function, from colors in [0, 1], (b, 3, H, W), to
            numbers (b, 1, h, w), NaN where there is no class.
        revision: of a model of the hub: branch, tag or commit. The commit is recorded.
        accept_license: use a teacher whose license is not permissive; this is recorded.
        trained_on: benchmarks that the teacher has seen, beside those that are known anyway.

    Raises:
        ConfigurationError: the teacher is unknown, none for this, out of reach, or not allowed.
        DataError: its weights are damaged.
        FileError: its file or folder is missing.
    """
    found = find_teacher(
        teacher, AUTO, TEACHERS,
        revision=revision, accept_license=accept_license, trained_on=tuple(trained_on),
    )  # fmt: skip
    known = Note(
        name="segments",
        meaning=f"classes by number{_named(found)}",
        scale=1.0,
        hole=HOLE,
        kind="class",
    )
    return Segments(found, found.origin.noted(known))


class Segments:
    """Class numbers of every pixel of the image: scores are resized to it before the best wins."""

    def __init__(self, teacher: Pretrained | Function, note: Note):
        self.teacher, self.note = teacher, note
        if isinstance(teacher, Pretrained) and teacher.config.model_type == "oneformer":
            raise ConfigurationError("OneFormer asks for words beside an image; take Mask2Former")

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 h w"]:
        if isinstance(self.teacher, Function):
            return self.teacher(image, channels=1).float()
        said, sizes = self.teacher(image), [tuple(image.shape[-2:])] * len(image)
        classes = self.teacher.processor.post_process_semantic_segmentation(said, sizes)
        return torch.stack(list(classes))[:, None].float()


def _named(teacher: Pretrained | Function) -> str:
    """The names of a model's classes, for the note."""
    if isinstance(teacher, Function):
        return ""
    names = teacher.config.id2label
    return ": " + ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
