"""A linear classifier on frozen features, at many learning rates at once.

What a linear probe scores hangs on its learning rate, which differs between methods by orders of
magnitude. So every rate of a grid trains a head of its own, all of them in one pass over features
that were computed once (Oquab et al., DINOv2, arXiv:2304.07193, appendix B.3, do so too); and the
rate is chosen on a part of the training data that no head has seen, never on the test data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from timm.optim import Lars
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

from sgmim import draws
from sgmim.errors import ConfigurationError
from sgmim.probing.accuracy import accuracies
from sgmim.probing.labeled import Labeled
from sgmim.probing.splitting import held_out
from sgmim.schedules import CosineAfterWarmup

STEPS = 16  # that an epoch has at least
CHUNK = 4096  # features scored at once
NO_TEST = (
    "there is nothing to test on: give --test.images FOLDER or --test.dataset NAME, or "
    "--test_share 0.3, and that share of the data is held out for it"
)
STD = 0.01  # of new weights, in MAE's code


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """How heads are trained.

    Args:
        optimizer: "lars", with momentum 0.9 and the trust ratio for weights, none for biases
            (MAE); "adamw" (KAMIM); or "sgd" with momentum 0.9 (DINO).
        rates: the grid. Of "lars" and "sgd" for a batch of 256 features, scaled with it.
        weight_decay: of the optimizer.
        normalize: by the mean and deviation of each batch, without weights of its own (BatchNorm),
            as MAE does: features of masked image modeling differ in scale by channel.
        epochs: passes over the features.
        warmup_epochs: of these, in which the rate rises from 0; after that it falls by half a
            cosine to 0.
        batch: features a step; fewer where an epoch would not have 16 steps.
        held_out: share of the training data, of each class alike, that the rate is chosen on.
    """

    optimizer: Literal["lars", "adamw", "sgd"] = "lars"
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    weight_decay: float = 0.0
    normalize: bool = True
    epochs: int = 90
    warmup_epochs: int = 10
    batch: int = 16384
    held_out: float = 0.1

    def outcomes(
        self, train: Labeled, test: Labeled | None, classes: int, seeds: int
    ) -> list[dict[str, Any]]:
        """What comes of it, of every seed; see `probe`.

        Raises:
            ConfigurationError: there is nothing to test on.
        """
        if test is None:
            raise ConfigurationError(NO_TEST)
        return [probe(train, test, classes, self, seed) for seed in range(seeds)]

    def __post_init__(self):
        if not self.rates or not all(0 < rate < inf for rate in self.rates):
            raise ConfigurationError(f"rates of a probe are above 0, not {self.rates}")
        if not 0 < self.held_out < 1:
            raise ConfigurationError(
                f"held_out is a share of the training data above 0 and below 1, not {self.held_out}"
            )
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is 1 or more, not {getattr(self, name)}")


def probe(
    train: Labeled, test: Labeled, classes: int, how: LinearProbe, seed: int
) -> dict[str, Any]:
    """Choose a rate on a part of the training data, train once more on all of it, and score that
    head on the test data, which plays no part before.

    Args:
        train: on the device that computes.
        test: on the same.
        classes: how many there are.
        how: heads are trained.
        seed: of the part that is held out, the first weights and the order.

    Returns:
        "seed"; "scores" on the test data; the "rate" that was chosen; the "grid": of every rate its
        scores and its loss on what was held out; and how many were "held_out".
    """
    held = held_out(train.labels, how.held_out, seed)
    kept, judge = train[~held], train[held]
    heads = fit(kept, classes, how, how.rates, seed)
    grid = [
        {"rate": rate, **judged(scored(heads, judge.features, number), judge.labels)}
        for number, rate in enumerate(how.rates)
    ]
    rate = max(grid, key=lambda row: (row["top1"], -row["loss"]))["rate"]
    final = fit(train, classes, how, [rate], seed)
    scores = accuracies(scored(final, test.features, 0), test.labels)
    return {"seed": seed, "scores": scores, "rate": rate, "grid": grid, "held_out": len(judge)}


def judged(said: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """What a rate is chosen by: how often a head is right, and of equals by its loss."""
    loss = F.cross_entropy(said, labels).nan_to_num(torch.inf).item()
    return accuracies(said, labels) | {"loss": loss}


class Heads(nn.Module):
    """Several linear classifiers that see the same features.

    Their weights are slices of one tensor, so that a forward pass is one product of matrices;
    `separate` has them one by one, in the same memory, as an optimizer wants them.
    """

    def __init__(self, count: int, dim: int, classes: int, *, normalize: bool, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(draws.key(seed))
        weight = nn.init.trunc_normal_(torch.empty(classes, dim), std=STD, generator=generator)
        self.weight = nn.Parameter(weight.repeat(count, 1, 1))  # (count, classes, dim), all alike
        self.bias = nn.Parameter(torch.zeros(count, classes))
        norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6)
        self.norm = norm if normalize else nn.Identity()

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b heads classes"]:
        said = F.linear(self.norm(features), self.weight.flatten(0, 1), self.bias.flatten())
        return said.unflatten(1, self.bias.shape)

    def separate(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Weight (classes, dim) and bias (classes,) of each."""
        pairs = zip(self.weight.detach(), self.bias.detach(), strict=True)
        return [(nn.Parameter(weight), nn.Parameter(bias)) for weight, bias in pairs]


def fit(train: Labeled, classes: int, how: LinearProbe, rates: Sequence[float], seed: int) -> Heads:
    """A head for each rate, in evaluation mode. Nothing in a step waits for the device."""
    count, device = len(train), train.features.device
    batch = max(1, min(how.batch, -(-count // STEPS)))
    steps = -(-count // batch)
    heads = Heads(len(rates), train.features.shape[1], classes, normalize=how.normalize, seed=seed)
    heads.to(device)
    separate = heads.separate()
    scale = 1.0 if how.optimizer == "adamw" else batch / 256
    optimizer = _optimizer(separate, [rate * scale for rate in rates], how)
    share = CosineAfterWarmup(
        lr=1.0, steps=how.epochs * steps, warmup=min(how.warmup_epochs, how.epochs) * steps
    )
    tops = [group["lr"] for group in optimizer.param_groups]
    for epoch in range(how.epochs):
        generator = torch.Generator().manual_seed(draws.key(seed, epoch, 1))
        order = torch.randperm(count, generator=generator).to(device)
        for number, rows in enumerate(order.split(batch)):
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["lr"] = top * share(epoch * steps + number)
            _step(heads, separate, train.features[rows], train.labels[rows])
            optimizer.step()
    return heads.eval()


def _step(
    heads: Heads,
    separate: Sequence[tuple[nn.Parameter, nn.Parameter]],
    features: Float[Tensor, "b d"],
    labels: Int[Tensor, " b"],
) -> None:
    """The gradients of all heads, each given its own."""
    said = heads(features)
    labels = labels[:, None].expand(said.shape[:2])
    loss = F.cross_entropy(said.flatten(0, 1), labels.flatten(), reduction="sum") / len(features)
    gradients = torch.autograd.grad(loss, (heads.weight, heads.bias))
    for (weight, bias), own, own_bias in zip(separate, *gradients, strict=True):
        weight.grad, bias.grad = own, own_bias


def _optimizer(
    separate: Sequence[tuple[nn.Parameter, nn.Parameter]], rates: Sequence[float], how: LinearProbe
) -> Optimizer:
    """Each head at a rate of its own; weights and biases apart, as LARS adapts weights alone."""
    pairs = list(zip(separate, rates, strict=True))
    if how.optimizer == "lars":
        groups = [
            {"params": [each], "lr": rate, "always_adapt": adapted}
            for both, rate in pairs
            for each, adapted in zip(both, (True, False), strict=True)
        ]
        return Lars(groups, momentum=0.9, weight_decay=how.weight_decay, trust_coeff=0.001)
    groups = [{"params": list(both), "lr": rate} for both, rate in pairs]
    if how.optimizer == "sgd":
        return SGD(groups, momentum=0.9, weight_decay=how.weight_decay)
    return AdamW(groups, weight_decay=how.weight_decay, fused=True)


@torch.no_grad()
def scored(heads: Heads, features: Float[Tensor, "n d"], number: int) -> Float[Tensor, "n classes"]:
    """What one of the heads says."""
    weight, bias = heads.weight[number], heads.bias[number]
    return torch.cat([F.linear(heads.norm(part), weight, bias) for part in features.split(CHUNK)])
