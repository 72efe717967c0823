import torch

from sgmim.probing.splitting import held_out


def counted(labels, held):
    return labels[held].bincount(minlength=int(labels.max()) + 1).tolist()


def test_of_every_class_the_share_is_held_out():
    labels = torch.arange(1000) % 7
    assert counted(labels, held_out(labels, 0.2, 0)) == [29, 29, 29, 29, 29, 29, 28]


def test_a_small_class_gives_one_and_keeps_one_and_a_lone_image_is_kept():
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    assert counted(labels, held_out(labels, 0.01, 0)) == [1, 0, 1]
    assert counted(labels, held_out(labels, 0.99, 0)) == [1, 0, 2]


def test_a_class_that_is_not_there_takes_nothing():
    labels = torch.tensor([0, 3, 0, 3])
    assert counted(labels, held_out(labels, 0.5, 0)) == [1, 0, 0, 1]


def test_a_seed_holds_the_same_out_and_another_seed_others():
    labels = torch.arange(90) % 3
    one, same, other = (held_out(labels, 0.5, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_no_place_is_held_out_more_often_than_others():
    labels = torch.arange(40) % 2
    often = sum(held_out(labels, 0.25, seed).float() for seed in range(100)) / 100
    assert (often - 0.25).abs().max() < 0.2  # four and a half deviations
