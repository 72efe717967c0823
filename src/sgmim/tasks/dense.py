"""What tasks that say something of every pixel have in common: an encoder and a head."""

from jaxtyping import Float
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.objective import Task
from sgmim.tasks.heads.base import Features, Head


class DensePrediction(Task):
    """A task whose head says something of every pixel."""

    def __init__(self, encoder: Encoder, head: Head, *, frozen: bool = False):
        """`frozen` leaves the encoder as it is: what do its features say?"""
        super().__init__()
        self.encoder, self.head, self.frozen = encoder, head, frozen
        for parameter in encoder.parameters() if frozen else head.unseen(encoder):
            parameter.requires_grad_(False)  # DistributedDataParallel waits for all that do

    def train(self, mode: bool = True) -> "DensePrediction":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def look(self, image: Float[Tensor, "b c H W"]) -> tuple[Features, tuple[int, int]]:
        """What the head is given of an image."""
        height, width = image.shape[-2:]
        return self.head.look(self.encoder, image), (height, width)
