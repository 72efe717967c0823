import torch
from torchmetrics.functional.classification import multiclass_accuracy

from sgmim.probing.accuracy import accuracies


def test_accuracies_are_those_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 9, generator=generator)
    labels = torch.randint(8, (200,), generator=generator)  # of the last class there is none
    found = accuracies(scores, labels)
    for name, options in {
        "top1": {"average": "micro"},
        "top5": {"average": "micro", "top_k": 5},
    }.items():
        theirs = multiclass_accuracy(scores, labels, num_classes=9, **options)
        assert abs(found[name] - theirs.item()) < 1e-6
    own = [(scores[labels == c].argmax(dim=1) == c).float().mean().item() for c in range(8)]
    assert abs(found["mean_per_class"] - sum(own) / 8) < 1e-6


def test_among_five_classes_there_is_no_top5():
    assert accuracies(torch.eye(5), torch.arange(5)).keys() == {"top1", "mean_per_class"}
