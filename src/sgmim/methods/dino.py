"""DINO: Emerging Properties in Self-Supervised Vision Transformers (Caron et al., 2021).

https://arxiv.org/abs/2104.14294

    image, view, parts --> student --> Head --> softmax(/ 0.1)
                              |          |         |
                              | follow   | follow  | each crop is to say what the teacher says of
                              v          v         | another crop of the photograph
    image, view ---------> teacher --> Head --> softmax(- center, / 0.04)

Both heads sort a crop into thousands of classes that nobody named. The center, a running mean of
what the teacher says, keeps one class from taking all; the low temperature keeps all from being
alike. What is handed over is the teacher.
"""

from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim import components
from sgmim.distributed import joint
from sgmim.ema import approach, follower, pace
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch, Losses, Moment, Objective, Pictures


class DINO(Objective):
    """Say of a crop what a slower copy of oneself says of another crop (section 3.1).

    Args:
        encoder: any; with parts one that takes images of another size, as a ViT.
        parts: compare small crops too (--batches.views says how many, and how small).
        prototypes: classes of the head.
        hidden: channels inside the head.
        bottleneck: channels before its last layer.
        temperature: of the student.
        teacher_temperature: of the teacher, at first and after its warm-up.
        teacher_warmup: epochs of that.
        momentum: of the teacher at the start; it rises to 1 by half a cosine.
        center_momentum: of the center.
        freeze_last: epochs in which the last layer of the head is not trained.

    Raises:
        ConfigurationError: numbers that cannot be, or an encoder that takes no small crops.
    """

    center: Tensor
    pace: Tensor
    sharpness: Tensor
    thawed: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        parts: bool = True,
        prototypes: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        temperature: float = 0.1,
        teacher_temperature: tuple[float, float] = (0.04, 0.04),
        teacher_warmup: int = 0,
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        freeze_last: float = 1.0,
    ):
        super().__init__()
        if min(temperature, *teacher_temperature) <= 0 or min(prototypes, hidden, bottleneck) < 1:
            raise ConfigurationError(
                f"DINO has temperatures above 0 and layers of 1 or more channels, not "
                f"{temperature}, {teacher_temperature}, {prototypes}, {hidden} and {bottleneck}"
            )
        if not (0 <= momentum <= 1 and 0 <= center_momentum <= 1):
            raise ConfigurationError(
                f"momenta are from 0 to 1, not {momentum} and {center_momentum}"
            )
        if parts and not encoder.takes_any_size:
            raise ConfigurationError(
                f"{encoder.name} takes images of {encoder.image_size[0]} x "
                f"{encoder.image_size[1]} pixels alone, and parts are smaller: leave them out with "
                "--method.parts false, or take a ViT"
            )
        self.needs = ("image", "view", "parts") if parts else ("image", "view")
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.teacher_warmup, self.freeze_last = teacher_warmup, freeze_last
        self.momentum, self.center_momentum = momentum, center_momentum
        self.student, self.student_head = encoder, Head(encoder.dim, hidden, bottleneck, prototypes)
        self.encoder, self.head = follower(self.student), follower(self.student_head)
        self.register_buffer("center", torch.zeros(prototypes))
        for name, value in self.at(Moment(0, 1, 0.0)).items():
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def forward(self, batch: Batch) -> Losses:
        views = torch.cat([batch["image"], batch["view"]])
        summaries = [self.student.summary(views)]
        if "parts" in self.needs:  # part by part, as views come view by view
            summaries.append(self.student.summary(batch["parts"].transpose(0, 1).flatten(0, 1)))
        said = self.student_head(torch.cat(summaries), self.thawed)
        with torch.no_grad():
            taught = self.head(self.encoder.summary(views))
        crops = len(said) // len(batch["image"])
        return {"surprise": self.compared(said.chunk(crops), taught.chunk(2))}

    def compared(
        self, said: tuple[Float[Tensor, "b k"], ...], taught: tuple[Float[Tensor, "b k"], ...]
    ) -> Float[Tensor, ""]:
        """Mean surprise of the student at what the teacher says of every other crop, by which the
        center moves after it is used (algorithm 1).

        Args:
            said: the student's logits of all crops, image and view first.
            taught: the teacher's of these two.
        """
        guesses = [F.log_softmax(logits / self.temperature, dim=1) for logits in said]
        everything = reduce(torch.add, guesses)
        surprise = torch.zeros((), device=everything.device)
        for logits, own in zip(taught, guesses, strict=False):
            sure = ((logits - self.center) / self.sharpness).softmax(dim=1)
            surprise = surprise - (sure * (everything - own)).sum(dim=1).mean()
        self._recenter(torch.cat(taught))
        return surprise / (len(taught) * (len(guesses) - 1))

    @torch.no_grad()
    def _recenter(self, taught: Float[Tensor, "n k"]) -> None:
        if self.training:
            found = joint.mean(taught.mean(dim=0))
            self.center.lerp_(found, 1 - self.center_momentum)

    def at(self, moment: Moment) -> dict[str, float]:
        """The numbers that change with time: by which share the teacher follows, its temperature,
        which changes from epoch to epoch, and whether (1) the last layer is trained."""
        first, last = self.teacher_temperature
        warm = min(int(moment.epoch) / max(self.teacher_warmup - 1, 1), 1.0)
        warm = warm if int(moment.epoch) < self.teacher_warmup else 1.0
        return {
            "pace": pace(self.momentum, moment.step / moment.steps),
            "sharpness": first + (last - first) * warm,
            "thawed": float(moment.epoch >= self.freeze_last),
        }

    def begin(self, moment: Moment) -> None:
        for name, value in self.at(moment).items():
            getattr(self, name).fill_(value)

    def follow(self, good: Bool[Tensor, ""]) -> None:
        approach(self.encoder, self.student, self.pace * good)
        approach(self.head, self.student_head, self.pace * good)

    def pictures(self, batch: Batch) -> Pictures:
        image = batch["image"]
        parts = {"image, part": batch["parts"][:, 0]} if "parts" in self.needs else {}
        features = components.painted(self.encoder(image), self.encoder.image_size)
        return {"image": image, "image, view": batch["view"], **parts, "features": features}


class Head(nn.Module):
    """Three layers, then the cosine of what they give with each prototype (appendix C)."""

    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(),
            nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )  # fmt: skip
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(
        self, summary: Float[Tensor, "b d"], thawed: Float[Tensor, ""] | None = None
    ) -> Float[Tensor, "b k"]:
        """Cosines in the place of logits; where `thawed` is 0 the prototypes get no gradient but
        zeros."""
        prototypes = self.prototypes.weight
        if thawed is not None:
            prototypes = prototypes.detach() + thawed * (prototypes - prototypes.detach())
        found = self.mlp(summary).float()
        with torch.autocast(found.device.type, enabled=False):  # bf16 has two digits for a cosine
            return F.linear(F.normalize(found, dim=1), F.normalize(prototypes, dim=1))
