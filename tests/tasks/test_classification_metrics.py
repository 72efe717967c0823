"""Counts by hand, and against torchmetrics where it is installed."""

import pytest
import torch

from sgmim.errors import ConfigurationError, DataError
from sgmim.tasks.classification_metrics import ClassificationMeter, ranks


def drawn(classes=9, count=200, seed=0):
    """Logits and labels, of which class 3 has none and class 4 is found more often."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (count,), generator=generator)
    label[label == 3] = 4
    logits = torch.randn(count, classes, generator=generator)
    logits[label == 4, 4] += 2
    return logits, label


def scored(logits, label, classes=9, parts=1):
    meter = ClassificationMeter(classes=classes)
    for some, truth in zip(logits.chunk(parts), label.chunk(parts), strict=True):
        meter.update(some, {"label": truth})
    return meter


def test_scores_are_those_of_torchmetrics():
    accuracy = pytest.importorskip("torchmetrics.functional.classification").multiclass_accuracy
    logits, label = drawn()
    found = scored(logits, label).results()
    for name, options in (
        ("top1", {"average": "micro"}),
        ("top5", {"average": "micro", "top_k": 5}),
        ("macc", {"average": "macro"}),  # which leaves out classes that are nowhere
    ):
        if name == "macc":
            logits = logits.clone()
            logits[:, 3] = -torch.inf  # torchmetrics counts a class that is only said
        theirs = accuracy(logits, label, num_classes=9, **options).item()
        ours = scored(logits, label).results()[name]
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert found["top1"] < found["top5"] < 1


def test_scores_by_hand():
    logits = torch.tensor([[3.0, 1, 2], [3, 1, 2], [3, 1, 2], [0, 9, 0]])
    meter = scored(logits, torch.tensor([0, 0, 2, 1]), classes=3)
    assert meter.results() == {"top1": 3 / 4, "macc": (1 + 1 + 0) / 3}  # of 3, no top 5
    said = meter.protocol()
    assert said["recall"] == {"class 0": 1.0, "class 1": 1.0, "class 2": 0.0}
    assert (said["images"], said["images_without_truth"], said["classes"]) == (4, 0, 3)


def test_batches_and_processes_do_not_matter():
    whole, parts = scored(*drawn()), scored(*drawn(), parts=7)
    assert torch.equal(whole.totals, parts.totals)
    other = scored(*drawn(seed=1))
    both = ClassificationMeter(classes=9)
    both.totals = whole.totals + other.totals
    one, two = (torch.cat(pair) for pair in zip(drawn(), drawn(seed=1), strict=True))
    assert both.results() == scored(one, two).results()


def test_of_equal_logits_the_first_class_is_taken():
    equal = torch.zeros(3, 4)
    assert ranks(equal, torch.tensor([0, 1, 3])).tolist() == [0, 1, 3]


def test_a_class_of_which_there_is_no_image_counts_nowhere():
    meter = scored(*drawn())
    assert meter.protocol()["recall"]["class 3"] is None and meter.results()["macc"] > 0


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="labels are from 0 to 9, and there are 9 classes, 0 to 8"):
        scored(torch.zeros(2, 9), torch.tensor([0, 9]))
    with pytest.raises(DataError, match="no image to score"):
        ClassificationMeter(classes=2).results()
    with pytest.raises(ConfigurationError, match=r"2 classes \(a to b\), .* tells 3 apart: give"):
        ClassificationMeter(classes=3, names=("a", "b"))
