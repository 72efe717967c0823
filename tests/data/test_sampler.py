from itertools import chain, islice

import pytest

from sgmim.data.sampler import Order, permutation
from sgmim.errors import ConfigurationError


def steps(count, start=0, many=12, **options):
    return list(islice(Order(count, **options)(start), many))


@pytest.mark.parametrize("count", [1, 2, 5, 100, 1001])
def test_an_epoch_has_every_sample_once(count):
    assert sorted(permutation(count, seed=3, epoch=7).tolist()) == list(range(count))


def test_epochs_and_seeds_differ():
    orders = {
        tuple(permutation(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)
    }
    assert len(orders) == 9


def test_every_place_is_as_likely():
    first = [int(permutation(10, 0, epoch)[0]) for epoch in range(2000)]
    assert all(140 < first.count(index) < 260 for index in range(10))


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("count", [5, 16, 37])
def test_the_ranks_together_make_the_batch_of_one_process(world, count):
    whole = steps(count, batch=16)
    shares = [steps(count, batch=16, rank=rank, world=world) for rank in range(world)]
    assert whole == [list(chain.from_iterable(step)) for step in zip(*shares, strict=True)]


@pytest.mark.parametrize("start", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("count", [5, 16, 37])
def test_any_step_can_be_started_at(start, count):
    rest = steps(count, start, 12 - start, batch=8, rank=1, world=2)
    assert rest == steps(count, batch=8, rank=1, world=2)[start:]


def test_nothing_is_dropped_between_epochs():
    seen = list(chain.from_iterable(steps(10, batch=4, many=5)))
    assert sorted(seen) == [(epoch, index) for epoch in range(2) for index in range(10)]


def test_fewer_samples_than_a_batch_come_again_in_other_epochs():
    (step,) = steps(3, batch=8, many=1)
    assert len(set(step)) == 8
    assert [epoch for epoch, _ in step] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_an_epoch_counts_whole_batches():
    assert Order(100, batch=32).steps_per_epoch == 3
    assert Order(3, batch=32).steps_per_epoch == 1


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigurationError, match="batch of 10 cannot be shared by 4"):
        Order(100, batch=10, world=4)
