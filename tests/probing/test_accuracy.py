import torch

from sgmim.probing.accuracy import accuracies


def test_what_is_no_number_is_never_right():
    labels = torch.arange(8)
    found = accuracies(torch.full((8, 8), torch.nan), labels)
    assert found == {"top1": 0.0, "top5": 0.0, "macc": 0.0}
    one = torch.eye(8).index_fill(0, torch.tensor([3]), torch.nan)
    assert accuracies(one, labels)["top1"] == 7 / 8
