"""An objective small enough to be trained in a test."""

import torch
from torch import nn
from torch.nn import functional as F

from sgmim.encoders import Encoder
from sgmim.objective import Objective


class TinyEncoder(Encoder):
    """One convolution."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 4, stride=4)

    def embed(self, image):
        return self.backbone(image).movedim(1, -1)

    def trunk(self, patches):
        return patches.movedim(-1, 1).tanh()


class Toy(Objective):
    """Paint the image again, through dropout."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.encoder = TinyEncoder()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(8, 48, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, batch):
        image = batch["image"]
        self.seen += len(image)
        painted = self.head(self.dropout(self.encoder(image)))
        error = painted - F.pixel_unshuffle(image, 4)
        return {"far": error.square().mean(), "near": error.abs().mean() / 2}


def toy(dropout=0.0):
    """Always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Toy(dropout)


def batches(count, *, start=0, size=4):
    """Batch `number` is always the same."""
    for number in range(start, count):
        generator = torch.Generator().manual_seed(number)
        yield {"image": torch.randn(size, 3, 8, 8, generator=generator)}


def micro(batch, count):
    """The same batch in equal pieces."""
    pieces = {name: tensor.chunk(count) for name, tensor in batch.items()}
    return [{name: tensors[i] for name, tensors in pieces.items()} for i in range(count)]


def trained(objective, batch, steps, lr):
    """The losses of so many steps on one batch."""
    optimizer = torch.optim.AdamW(objective.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = sum(objective(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
