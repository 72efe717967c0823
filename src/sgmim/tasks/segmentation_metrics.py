"""How good a map of classes is: mean intersection over union, counted over a whole data set.

As ADE20K is scored (mmsegmentation): every labelled pixel counts once, whichever image it is in,
and each class counts the same. So there is no score of an image, and no mean over images.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sgmim.errors import DataError
from sgmim.objective import Batch
from sgmim.tasks.class_names import class_names

METRICS = ("miou", "acc", "macc")


class SegmentationMeter:
    """Counts which class was taken for which.

    A pixel counts where its class is known: NaN is "ignore". Of a class let I be the pixels rightly
    said to be of it, T those that are, P those said to be. Its IoU is I / (T + P - I), and is not a
    number, and left out of the mean, where the class neither is nor is said to be anywhere.

    `totals` is all there is to it: int64 counts, to be added up over processes.
    """

    needs: tuple[str, ...] = ()
    rising: tuple[str, ...] = METRICS

    def __init__(self, *, classes: int, names: Sequence[str] = ()):
        """Raises ConfigurationError where there are not as many names as classes, nor none."""
        self.classes, self.names = classes, class_names(classes, names)
        # a count for each pair of true and predicted class, then the images with labels and without
        self.totals = torch.zeros(classes * classes + 2, dtype=torch.int64)

    def update(self, prediction: Float[Tensor, "b n h w"], batch: Batch) -> None:
        """Count what logits say of batch["classes"], at the size of the latter.

        Raises:
            DataError: a label is no number of a class.
        """
        labels = batch["classes"]
        known = labels.isfinite()
        if prediction.shape[-2:] != labels.shape[-2:]:
            prediction = F.interpolate(prediction.float(), labels.shape[-2:], mode="bilinear")
        truth = labels[known]
        self._check(truth)
        said = prediction.argmax(dim=1, keepdim=True)[known]
        pairs = torch.bincount(
            truth.long() * self.classes + said, minlength=self.classes * self.classes
        )
        labelled = known.flatten(1).any(dim=1)
        images = torch.stack([labelled.sum(), (~labelled).sum()])
        self.totals = self.totals.to(pairs.device) + torch.cat([pairs, images])

    def merge(self, other: "SegmentationMeter") -> None:
        """Take over what another meter has seen."""
        self.totals = self.totals + other.totals.to(self.totals.device)

    def results(self) -> dict[str, float]:
        """The METRICS, as shares. Raises DataError where no pixel had a label."""
        pairs = self.confusion.double()
        right, there = pairs.diagonal(), pairs.sum(dim=1)
        if not there.any():
            raise DataError(
                f"none of {int(self.totals[-1])} images has a labelled pixel: are all labels the "
                "one that means 'ignore'?"
            )
        return {
            "miou": self.iou.nanmean().item(),
            "acc": (right.sum() / there.sum()).item(),
            "macc": (right / there).nanmean().item(),
        }

    def protocol(self) -> dict[str, Any]:
        """How the score was made, to be written beside it; and the IoU of every class, None where
        there is none."""
        images, without = self.totals[-2:].tolist()
        ious = [None if iou != iou else iou for iou in self.iou.tolist()]
        return {
            "classes": self.classes,
            "averaged": "over the pixels of all images, then over classes",
            "images": images,
            "images_without_truth": without,
            "iou": dict(zip(self.names, ious, strict=True)),
        }

    @property
    def confusion(self) -> Int[Tensor, "n n"]:
        """Pixels of each class (rows) that were said to be of each (columns)."""
        return self.totals[:-2].cpu().view(self.classes, self.classes)

    @property
    def iou(self) -> Float[Tensor, " n"]:
        """Intersection over union of every class."""
        pairs = self.confusion.double()
        right = pairs.diagonal()
        return right / (pairs.sum(dim=0) + pairs.sum(dim=1) - right)

    def _check(self, truth: Float[Tensor, " pixels"]) -> None:
        wrong = truth[(truth < 0) | (truth >= self.classes) | (truth != truth.round())]
        if len(wrong):
            raise DataError(
                f"a label is {wrong[0].item():g}, and there are {self.classes} classes, 0 to "
                f"{self.classes - 1}: give their number (--task.classes); or, if that label means "
                f"'ignore', say so (--data.hole.classes {wrong[0].item():g}, and the same of test)"
            )
