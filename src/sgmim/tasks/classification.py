"""Classification: one class for a whole image, by a linear layer on one vector of it.

Fine-tuning as SimMIM (Xie et al., 2021, arXiv:2111.09886, section 4.1), MAE (He et al., 2021,
arXiv:2111.06377, appendix A.1) and KAMIM do, and their linear probes, where the encoder stays as it
is: what can be read from its features?
"""

from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Batch, Losses, Pictures, Task
from sgmim.tasks.captions import captions
from sgmim.tasks.classification_metrics import METRICS, ClassificationMeter


class Classification(Task):
    """Predict the class of an image.

    Where images of a batch are mixed (data/mixing.py), the loss is the cross entropy with the mixed
    classes: that of each, weighted by its share.
    """

    needs = ("image", "label")
    metrics = METRICS
    defaults = MappingProxyType({"inference.mode": "center"})

    def __init__(
        self,
        encoder: Encoder,
        *,
        classes: int = 1000,  # how many there are
        layer: int | None = None,  # that is read: a block of a ViT, a stage of a Swin; the last
        pool: Literal["mean", "cls"] = "mean",  # of its cells; or the class token
        norm: Literal["final", "pooled", "none"] = "final",  # the encoder's; or a new one, after
        # pooling (fc_norm of BEiT, MAE and SimMIM's ViT); or none, as in KAMIM's probe
        batch_norm: bool = False,  # features by their statistics, as in MAE's probe
        frozen: bool = False,  # leave the encoder as it is: what do its features say?
        smoothing: float = 0.0,  # share of the truth that is spread over all classes
        deviation: float = 0.02,  # of the linear layer's weights as they begin
    ):
        if classes < 2 or not 0 <= smoothing < 1:
            raise ConfigurationError(
                f"classes are 2 or more and smoothing is from 0 to below 1, not {classes} and "
                f"{smoothing}"
            )
        if pool == "cls" and not encoder.has_class_token:
            raise ConfigurationError(f"{encoder.name} has no class token: give --task.pool mean")
        super().__init__()
        self.encoder, self.frozen, self.smoothing = encoder, frozen, smoothing
        self.layer, self.pool, self.through_norm = encoder.layer(layer), pool, norm == "final"
        self.limits = {"label": classes}
        dim = encoder.layers[self.layer - 1]
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm == "pooled" else nn.Identity()
        self.statistics = (
            nn.BatchNorm1d(dim, affine=False, eps=1e-6) if batch_norm else nn.Identity()
        )
        self.head = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=deviation)
        nn.init.zeros_(self.head.bias)
        unread = encoder.beyond(self.layer, norm=self.through_norm)
        for parameter in encoder.parameters() if frozen else unread:
            parameter.requires_grad_(False)  # DistributedDataParallel waits for all that do

    def train(self, mode: bool = True) -> "Classification":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Losses:
        logits, label = self.predict(batch["image"]), batch["label"]
        loss = F.cross_entropy(logits, label, label_smoothing=self.smoothing, reduction="none")
        if "other" in batch:
            other = F.cross_entropy(
                logits, batch["other"], label_smoothing=self.smoothing, reduction="none"
            )
            loss = other.lerp(loss, batch["share"])
        return {"cross_entropy": loss.mean()}

    def features(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """The one vector of an image that the linear layer reads."""
        tokens = self.encoder.tokens(image, self.layer, norm=self.through_norm)
        cells = tokens[:, self.encoder.prefix :]
        return self.norm(tokens[:, 0] if self.pool == "cls" else cells.mean(dim=1))

    def predict(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k"]:
        """What speaks for each class: logits, of which the most likely class has the largest."""
        return self.head(self.statistics(self.features(image))).float()

    def meter(self, **options: Any) -> ClassificationMeter:
        return ClassificationMeter(**{"classes": self.limits["label"], **options})

    def pictures(self, batch: Batch) -> Pictures:
        image = batch["image"]
        likely, said = self.predict(image).softmax(dim=1).max(dim=1)
        size = (image.shape[-2], image.shape[-1])
        words = captions(batch["label"], said, likely, self.class_names, size)
        return {"image": image, "class": words}
