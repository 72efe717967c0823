"""MoCo v3 and DINO of lightly's parts, in the architecture of one of our encoders, put together as
lightly's documentation does: crop by crop, and what follows moves as a step begins."""

from collections.abc import Callable

import timm
import torch
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import DINOProjectionHead, MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from peers import Lightly
from sgmim.encoders import Encoder
from sgmim.objective import Batch


class Pair(nn.Module):
    """A network that is trained, and another like it that follows."""

    def __init__(self, build: Callable[[], nn.Module]):
        super().__init__()
        self.trained, self.following = build(), build()
        deactivate_requires_grad(self.following)

    def follow(self, momentum: float) -> None:
        update_momentum(self.trained, self.following, m=momentum)


class LightlyMoCo(nn.Module):
    """lightly has heads for MoCo v3, and a contrastive loss that also compares queries with
    queries. As in the paper nothing is learnt of patches and positions."""

    version = Lightly.version

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.pair = Pair(lambda: nn.Sequential(_vit(encoder), _perceptron(encoder.dim, layers=3)))
        vit = self.pair.trained[0]
        deactivate_requires_grad(vit.patch_embed)
        vit.pos_embed.requires_grad_(False)
        self.predictor = _perceptron(256, layers=2)
        self.loss = NTXentLoss(temperature=0.2)

    def forward(self, batch: Batch) -> Tensor:
        self.pair.follow(0.99)
        views = batch["image"], batch["view"]
        queries = [self.predictor(self.pair.trained(view)) for view in views]
        with torch.no_grad():
            keys = [self.pair.following(view) for view in views]
        return self.loss(queries[0], keys[1]) + self.loss(queries[1], keys[0])


class LightlyDINO(nn.Module):
    """As in lightly's documentation (examples/dino), with ten crops."""

    version = Lightly.version

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.pair = Pair(
            lambda: nn.Sequential(
                _vit(encoder, dynamic_img_size=True), DINOProjectionHead(encoder.dim)
            )
        )
        self.loss = DINOLoss()

    def forward(self, batch: Batch) -> Tensor:
        self.pair.follow(0.996)
        views = [batch["image"], batch["view"]]
        with torch.no_grad():
            taught = [self.pair.following(view) for view in views]
        crops = [*views, *batch["parts"].unbind(dim=1)]
        return self.loss(taught, [self.pair.trained(crop) for crop in crops])


def _vit(encoder: Encoder, **options: bool) -> nn.Module:
    """timm's, which returns the class token."""
    size = encoder.image_size
    return timm.create_model(
        encoder.name, img_size=size, num_classes=0, global_pool="token", **options
    )


def _perceptron(width: int, layers: int) -> nn.Module:
    head = MoCoProjectionHead(width, 4096, 256, num_layers=layers, batch_norm=True)
    head.layers[-1] = nn.BatchNorm1d(256, affine=False)  # as the authors have the last norm
    return head
