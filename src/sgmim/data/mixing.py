"""Images of a batch mixed with each other: mixup (Zhang et al., 2017, arXiv:1710.09412) and CutMix
(Yun et al., 2019, arXiv:1905.04899).

timm's own, which MAE and SimMIM are fine-tuned with: a batch is mixed with itself in reverse order,
by one share and one rectangle for all. It is done where samples are joined, in loading processes,
so the images stay bytes until they are on the device; there they would be numbers, rounded to 1/255
of the colors here.
"""

from dataclasses import dataclass

import torch
from timm.data import Mixup

from sgmim import draws
from sgmim.data.images import Sample
from sgmim.errors import ConfigurationError

MIXING = 783  # its key is what a batch is mixed by


@dataclass(frozen=True)
class Mixing:
    """How often and how strongly the images of a batch are mixed.

    Of the shares of two images, that of mixup is drawn from Beta(mixup, mixup), and the area of
    CutMix from Beta(cutmix, cutmix); 0 is no such mixing. Each of `batches.batch` images of a
    process, of which there is to be an even number, gets the same.

    Raises:
        ConfigurationError: numbers that mix nothing, or are no probabilities.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0  # that a batch is mixed at all
    switch: float = 0.5  # that it is by CutMix, where there are both

    def __post_init__(self):
        if min(self.mixup, self.cutmix) < 0 or self.mixup == self.cutmix == 0:
            raise ConfigurationError(
                f"mixing has mixup and cutmix of 0 or more, one of them above, not {self.mixup} "
                f"and {self.cutmix}; leave mixing out to mix nothing"
            )
        if not (0 <= self.probability <= 1 and 0 <= self.switch <= 1):
            raise ConfigurationError(
                f"mixing.probability and mixing.switch are from 0 to 1, not {self.probability} and "
                f"{self.switch}"
            )

    def check(self, needs: tuple[str, ...], batch: int) -> None:
        """Raise ConfigurationError where what is needed of a sample, or how many samples a process
        joins, does not go with this."""
        if set(needs) != {"image", "label"}:
            raise ConfigurationError(
                f"mixing is of images and their labels alone, and these are needed: "
                f"{', '.join(needs)}"
            )
        if batch % 2:
            raise ConfigurationError(
                f"mixing pairs the images of a batch, and a process has {batch} at once, which is "
                "odd: give another --training.batch"
            )

    def __call__(self, batch: Sample) -> Sample:
        """A batch on the CPU mixed by the keys of its samples, with the "other" label of each image
        (b,) and the "share" of its own (b,)."""
        image, count = batch["image"], len(batch["image"])
        mix = Mixup(
            mixup_alpha=self.mixup,
            cutmix_alpha=self.cutmix,
            prob=self.probability,
            switch_prob=self.switch,
            label_smoothing=0.0,
            num_classes=count,
        )
        with draws.borrowed(draws.key(*batch["key"].tolist(), MIXING)):
            mixed, shares = mix(image.float(), torch.arange(count))  # each image a class of its own
        return batch | {
            "image": mixed.round_().to(image.dtype),
            "other": batch["label"].flip(0),
            "share": shares.diagonal().clone(),
        }
