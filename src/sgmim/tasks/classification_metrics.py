"""How good the classes of images are: top-1 and top-5 accuracy, and the mean over classes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sgmim.errors import DataError
from sgmim.objective import Batch
from sgmim.tasks.class_names import class_names

METRICS = ("top1", "top5", "macc")
SEVERAL = 5  # the most likely classes, of which one is to be the true one


class ClassificationMeter:
    """Counts how often the true class is the most likely, and how often among the five most likely.

    Of logits that are equal the class of the smaller number is the likelier, so that nothing
    depends on how a device sorts. `macc` is the mean, over the classes of which there is
    an image, of the share of its images that are taken for it: where classes are of very different
    sizes, as in Caltech-101, top-1 says most of the largest.

    `totals` is all there is to it: int64 counts, to be added up over processes.
    """

    needs: tuple[str, ...] = ()
    rising: tuple[str, ...] = METRICS

    def __init__(self, *, classes: int, names: Sequence[str] = ()):
        """Raises ConfigurationError where there are not as many names as classes, nor none."""
        self.classes, self.names = classes, class_names(classes, names)
        self.totals = torch.zeros(3 * classes, dtype=torch.int64)

    def update(self, prediction: Float[Tensor, "b k"], batch: Batch) -> None:
        """Count what logits say of batch["label"].

        Raises:
            DataError: a label is no number of a class.
        """
        label = batch["label"]
        if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < self.classes:
            raise DataError(
                f"labels are from {int(label.min())} to {int(label.max())}, and there are "
                f"{self.classes} classes, 0 to {self.classes - 1}"
            )
        rank = ranks(prediction, label)
        images, first, several = (
            torch.bincount(label[counted], minlength=self.classes)
            for counted in (rank >= 0, rank == 0, rank < SEVERAL)
        )
        self.totals = self.totals.to(label.device) + torch.cat([images, first, several])

    def results(self) -> dict[str, float]:
        """The METRICS, as shares. Raises DataError where there was no image."""
        images, first, several = self.counts.double()
        if not images.any():
            raise DataError("there was no image to score")
        found = {
            "top1": (first.sum() / images.sum()).item(),
            "top5": (several.sum() / images.sum()).item(),
            "macc": (first / images).nanmean().item(),
        }
        if self.classes <= SEVERAL:
            del found["top5"]  # which would always be right
        return found

    def protocol(self) -> dict[str, Any]:
        """How the score was made, to be written beside it; and the share of the images of every
        class that were taken for it, None where there are none."""
        images, first, _ = self.counts.double()
        shares = [None if share != share else share for share in (first / images).tolist()]
        return {
            "classes": self.classes,
            "averaged": "over images; macc over the classes that have any",
            "images": int(images.sum()),
            "images_without_truth": 0,
            "recall": dict(zip(self.names, shares, strict=True)),
        }

    @property
    def counts(self) -> Int[Tensor, "3 n"]:
        """Of each class: images, those taken for it, those for which it is among the likeliest."""
        return self.totals.cpu().view(3, self.classes)


def ranks(logits: Float[Tensor, "b k"], label: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """How many classes are taken to be likelier than the true one: 0 where it is found."""
    own = logits.gather(1, label[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < label[:, None]
    # what is no number is likelier than anything: a model that diverged is never right
    return (~(logits <= own) | ((logits == own) & before)).sum(dim=1)
