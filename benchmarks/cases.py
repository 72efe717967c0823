"""Who takes which step: backbones, and the training loops around them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from sgmim import optim, training
from sgmim.encoders import make_encoder
from sgmim.methods.simmim import SimMIM
from sgmim.objective import Batch, Objective
from sgmim.precision import faster_in_bf16

CHANNELS = {"image": 3, "view": 3}  # of a map: 1
PARTS = (8, 3, 96, 96)  # small crops of an image, as DINO has them
TOTAL = 100_000  # steps of the run that all these are the first of


@dataclass(frozen=True)
class Case:
    """A backbone, how much of it at once, and where."""

    name: str
    encoder: str
    size: int  # pixels a side of an image
    batch: int
    window: int | None = None
    device: str = "cpu"
    compiled: bool = False

    def objective(self, method: type[Objective]) -> Objective:
        return method(make_encoder(self.encoder, image_size=self.size, window=self.window))

    def data(self, objective: Objective, images: int) -> Batch:
        """Noise for all that is needed, with what is hidden of it for those who want to be told."""
        plain = {name: (CHANNELS.get(name, 1), self.size, self.size) for name in objective.needs}
        shapes = plain | ({"parts": PARTS} if "parts" in plain else {})
        batch = {name: torch.randn(images, *shape) for name, shape in shapes.items()}
        batch["key"] = torch.arange(images)
        if hasattr(objective, "mask"):
            batch["hidden"] = objective.mask(batch["key"]).flatten(1)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def __str__(self) -> str:
        return f"{self.name}, batch {self.batch}" + ", compiled" * self.compiled


SWIN_B = Case("Swin-B", "swin_base_patch4_window7_224", 192, 2, window=6)
SWIN_V2_B = Case("SwinV2-B", "swinv2_base_window12_192", 192, 2)
VIT_B = Case("ViT-B", "vit_base_patch16_224", 224, 4)
SIMMIM_VIT_B = Case("SimMIM's ViT-B", "simmim_vit_base_patch16", 224, 4)
SWIN_T = Case("Swin-T", "swin_tiny_patch4_window7_224", 192, 2, window=6)
VIT_S = Case("ViT-S", "vit_small_patch16_224", 224, 2)
VIT_TI = Case("ViT-Ti at 64 pixels", "vit_tiny_patch16_224", 64, 4)


def ours(case: Case, method: type[Objective], *, times: int = 1) -> Iterator[training.Step]:
    """The loop that every command runs, on the batch or on several times the batch."""
    objective = case.objective(method).to(case.device)
    batch = case.data(objective, times * case.batch)
    optimizer = optim.adamw(objective, lr=1e-4)
    if case.compiled:
        objective.compile()
    return training.steps(objective, optimizer, repeat(batch), total=TOTAL)


def theirs(
    case: Case,
    peer: type[nn.Module],
    optimizer: Callable[..., Optimizer],
    method: type[Objective] = SimMIM,
) -> Iterator[Tensor]:
    """A peer, of the same method, in the loop that everybody writes."""
    own, device = case.objective(method), torch.device(case.device)
    model = peer(own.encoder).to(device)
    assert parameters(model) == parameters(own), "not the same architecture"
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batch, chosen = case.data(own, case.batch), optimizer(trained, lr=1e-4)
    del own
    if case.compiled:
        model.compile()
    while True:
        chosen.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, faster_in_bf16(device)):
            loss = model(batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), 5.0)
        chosen.step()
        yield loss.detach()


def parameters(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
