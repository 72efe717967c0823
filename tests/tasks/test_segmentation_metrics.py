"""Counts against the formula by hand, and against torchmetrics where it is installed."""

import math

import pytest
import torch

from sgmim.errors import ConfigurationError, DataError
from sgmim.tasks.segmentation_metrics import METRICS, SegmentationMeter


def logits(classes, count):
    """Logits whose largest are those of given classes (b, H, W)."""
    return torch.nn.functional.one_hot(classes, count).movedim(-1, 1).float()


def batch(labels):
    return {"classes": labels[:, None].float()}


def drawn(count, *, absent=(), only_said=(), seed=0, images=3):
    """True and predicted classes; some of neither, some only predicted; a tenth not labelled."""
    generator = torch.Generator().manual_seed(seed)
    truth, said = (
        torch.randint(count, (images, 17, 23), generator=generator).float() for _ in range(2)
    )
    for kind in absent:
        truth[truth == kind], said[said == kind] = 0, 0
    for kind in only_said:
        truth[truth == kind] = 0
    agree = torch.rand(truth.shape, generator=generator) < 0.4
    said = truth.where(agree, said).long()
    truth[torch.rand(truth.shape, generator=generator) < 0.1] = math.nan
    return truth, said


def scored(truth, said, count, **options):
    meter = SegmentationMeter(classes=count, **options)
    meter.update(logits(said, count), batch(truth))
    return meter


def test_scores_of_a_handful_of_pixels():
    truth = torch.tensor([[[0, 0, 0, 1], [1, 2, math.nan, math.nan]]])
    said = torch.tensor([[[0, 0, 1, 1], [1, 0, 3, 0]]])
    meter = scored(truth, said, 5)
    # IoU: 2/4, 2/3, 0/1, and none of classes 3 (said where nothing is known) and 4
    assert meter.iou.tolist() == pytest.approx([1 / 2, 2 / 3, 0, math.nan, math.nan], nan_ok=True)
    expected = {"miou": (1 / 2 + 2 / 3) / 3, "acc": 4 / 6, "macc": (2 / 3 + 1 + 0) / 3}
    assert meter.results() == pytest.approx(expected)
    assert tuple(meter.results()) == METRICS


def test_a_class_that_is_only_said_counts_as_0_and_one_that_is_nowhere_does_not_count():
    truth, said = drawn(6, absent=(2,), only_said=(4,))
    iou = scored(truth, said, 6).iou
    assert iou[2].isnan() and iou[4] == 0
    assert scored(truth, said, 6).results()["miou"] == pytest.approx(
        iou[[0, 1, 3, 4, 5]].mean().item()
    )


@pytest.mark.parametrize("absent, only_said", [((), ()), ((3,), ()), ((0, 5), (2, 7))])
def test_mean_iou_is_torchmetrics_macro_jaccard_index(absent, only_said):
    classification = pytest.importorskip("torchmetrics.classification")
    theirs = classification.MulticlassJaccardIndex(9, ignore_index=255, average="macro")
    meter = SegmentationMeter(classes=9)
    for seed in range(3):
        truth, said = drawn(9, absent=absent, only_said=only_said, seed=seed)
        theirs.update(said, truth.nan_to_num(255).long())
        meter.update(logits(said, 9), batch(truth))
    assert meter.results()["miou"] == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_images_are_pooled_and_not_averaged():
    meter = SegmentationMeter(classes=4)
    parts = [drawn(4, seed=seed, images=2) for seed in range(4)]
    for truth, said in parts:
        meter.update(logits(said, 4), batch(truth))
    truths, saids = (torch.cat(each) for each in zip(*parts, strict=True))
    whole = scored(truths, saids, 4)
    assert meter.results() == whole.results()
    other = scored(*parts[0], 4)
    for truth, said in parts[1:]:
        other.merge(scored(truth, said, 4))
    assert torch.equal(other.totals, whole.totals)


def test_counts_stay_whole_where_floats_would_not():
    meter = SegmentationMeter(classes=2)
    meter.totals[0] = 2**53  # in float64 one more pixel would be lost
    meter.update(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), batch(torch.zeros(1, 1, 1)))
    assert meter.confusion[0, 0] == 2**53 + 1


def test_predictions_of_another_size_are_enlarged_before_they_are_decided():
    said = torch.tensor([[[0, 1], [0, 1]]])
    truth = torch.zeros(1, 4, 8)
    truth[..., 4:] = 1
    assert scored(truth, said, 2).results()["miou"] == 1
    soft = torch.tensor([3.0, -1.0]).view(1, 1, 1, 2)
    meter = SegmentationMeter(classes=2)
    meter.update(torch.cat([soft, -soft], dim=1), batch(truth))
    # logits 3, 2.5, 1.5, .. -1 between the two: the border moves to the right of the middle
    assert meter.confusion.tolist() == [[16, 0], [4, 12]]


def test_an_image_without_labels_is_counted_but_not_scored():
    truth, said = drawn(3)
    truth[1] = math.nan
    protocol = scored(truth, said, 3).protocol()
    assert (protocol["images"], protocol["images_without_truth"]) == (2, 1)
    with pytest.raises(DataError, match="none of 3 images has a labelled pixel"):
        scored(truth * math.nan, said, 3).results()


@pytest.mark.parametrize("label", [3.0, 255.0, -1.0, 1.5])
def test_a_label_that_is_no_class_is_an_error_that_says_what_to_do(label):
    truth, said = drawn(3)
    truth[0, 0, 0] = label
    with pytest.raises(DataError, match=rf"label is {label:g}, .* 0 to 2.*--data\.hole\.classes"):
        scored(truth, said, 3)


def test_the_record_tells_the_iou_of_every_class_by_name():
    truth, said = drawn(3, absent=(1,))
    meter = scored(truth, said, 3, names=("sky", "sea", "land"))
    iou = meter.protocol()["iou"]
    assert list(iou) == ["sky", "sea", "land"] and iou["sea"] is None
    assert iou["sky"] == pytest.approx(meter.iou[0].item())
    with pytest.raises(ConfigurationError, match=r"--task\.classes 2"):
        SegmentationMeter(classes=3, names=("sky", "sea"))
