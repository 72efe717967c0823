"""What is traced for ONNX and torch.export: models from colors on, for images of one size."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.export.subject import Subject


class Program(nn.Module):
    """Normalizes colors in [0, 1] and asks a model; its name is that of what it says."""

    def __init__(self, subject: Subject, name: str):
        super().__init__()
        self.model = subject.task if subject.task and name != "features" else subject.encoder
        for kind, values in (("mean", subject.mean), ("deviation", subject.deviation)):
            self.register_buffer(kind, torch.tensor(values)[:, None, None])

    def forward(self, image: Float[Tensor, "b c H W"]) -> Tensor:
        image = (image - self.get_buffer("mean")) / self.get_buffer("deviation")
        said = getattr(self.model, "predict", self.model)
        return said(image)


def programs(subject: Subject) -> dict[str, Program]:
    """By the names of their files: the encoder and, of a model that was fine-tuned, all of it."""
    found = {"encoder": Program(subject, "features")}
    if subject.finished:
        found[subject.finished.name] = Program(subject, subject.finished.name)
    return {name: program.eval() for name, program in found.items()}
