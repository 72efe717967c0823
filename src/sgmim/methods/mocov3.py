"""MoCo v3: An Empirical Study of Training Self-Supervised Vision Transformers
(Chen, Xie and He, 2021).

https://arxiv.org/abs/2104.02057

    image --> Encoder --> projector --> predictor --> query
                 |            |                         |
                 | follow     | follow                  | which of the keys of all images
                 v            v                         | is of the same photograph?
    view ---> Encoder --> projector ----------------> keys

and once more with image and view exchanged. The keys' encoder and projector are not trained: they
follow those of the queries.
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim import components
from sgmim.distributed import joint
from sgmim.ema import approach, follower, pace
from sgmim.encoders.base import Encoder
from sgmim.encoders.plain import PlainEncoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch, Losses, Moment, Objective, Pictures


class MoCoV3(Objective):
    """Tell two crops of a photograph from crops of all others (section 3).

    Each process compares its queries with the keys of all processes; accumulated micro-batches do
    not see each other.

    Args:
        encoder: any.
        temperature: by which cosines are divided, and twice that the loss is multiplied by.
        momentum: of the keys' encoder at the start; it rises to 1 by half a cosine.
        hidden: channels inside projector and predictor.
        dim: channels of queries and keys.
        freeze_patches: leave the random embedding of patches as it is, which keeps training
            stable (section 4.1).
        fix_positions: sine and cosine positions that are not learnt, in a plain encoder.

    Raises:
        ConfigurationError: a temperature, a momentum or a width that is none.
    """

    needs = ("image", "view")
    pace: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.2,
        momentum: float = 0.99,
        hidden: int = 4096,
        dim: int = 256,
        freeze_patches: bool = True,
        fix_positions: bool = True,
    ):
        super().__init__()
        if temperature <= 0 or not 0 <= momentum <= 1 or min(hidden, dim) < 1:
            raise ConfigurationError(
                f"MoCo v3 has a temperature above 0, a momentum from 0 to 1 and layers of 1 or "
                f"more channels, not {temperature}, {momentum}, {hidden} and {dim}"
            )
        self.temperature, self.momentum = temperature, momentum
        if freeze_patches:
            encoder.freeze_patches()
        if fix_positions and isinstance(encoder, PlainEncoder):
            encoder.fix_positions(rows_first=True)
        self.encoder = encoder
        self.projector = perceptron(encoder.dim, hidden, hidden, dim)
        self.predictor = perceptron(dim, hidden, dim)
        self.key_encoder, self.key_projector = follower(encoder), follower(self.projector)
        self.register_buffer("pace", torch.tensor(pace(momentum, 0.0)), persistent=False)

    def forward(self, batch: Batch) -> Losses:
        views = batch["image"], batch["view"]
        if self.training and len(views[0]) < 2:
            raise ConfigurationError(
                "MoCo v3 tells images of a batch from each other: it takes 2 or more at once in "
                "each process, and there is 1; raise training.batch or lower training.accumulate"
            )
        one, other = (self.query(view) for view in views)
        with torch.no_grad():
            key, other_key = (joint.rows(self.key(view)) for view in views)
        return {"contrast": self.contrast(one, other_key) + self.contrast(other, key)}

    def query(self, view: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """What is asked of a crop."""
        return self.predictor(self.projector(self.encoder.summary(view)))

    def key(self, view: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """What a crop is found by."""
        return self.key_projector(self.key_encoder.summary(view))

    def contrast(
        self, queries: Float[Tensor, "b d"], keys: Float[Tensor, "n d"]
    ) -> Float[Tensor, ""]:
        """Surprise at the key that is a query's own, among those of all processes (algorithm 1)."""
        queries, keys = F.normalize(queries.float(), dim=1), F.normalize(keys.float(), dim=1)
        own = torch.arange(len(queries), device=queries.device) + joint.first_row(queries)
        with torch.autocast(queries.device.type, enabled=False):  # bf16 has two digits for a cosine
            cosines = queries @ keys.T
        surprise = F.cross_entropy(cosines / self.temperature, own)
        return 2 * self.temperature * surprise

    def begin(self, moment: Moment) -> None:
        # the authors move the keys' encoder between queries and keys, with the momentum of that
        # step: which is after the step before it
        self.pace.fill_(pace(self.momentum, (moment.step + 1) / moment.steps))

    def follow(self, good: Bool[Tensor, ""]) -> None:
        approach(self.key_encoder, self.encoder, self.pace * good)
        approach(self.key_projector, self.projector, self.pace * good)

    def pictures(self, batch: Batch) -> Pictures:
        image = batch["image"]
        features = components.painted(self.encoder(image), self.encoder.image_size)
        return {"image": image, "image, view": batch["view"], "features": features}


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the images of all processes."""

    synchronized = True


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers and batch norms; after the last no ReLU, and its norm has no scale and shift
    (the authors' builder.py)."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), BatchNorm(after), nn.ReLU()]
    last = nn.Linear(widths[-2], widths[-1], bias=False)
    return nn.Sequential(*layers, last, BatchNorm(widths[-1], affine=False))
