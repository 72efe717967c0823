from itertools import chain, islice

import pytest

from sgmim.data.sampler import Order
from sgmim.errors import ConfigurationError


def steps(count, start=0, many=12, **options):
    return list(islice(Order(count, **options)(start), many))


def epoch(number, count=50, seed=3):
    """The order of an epoch."""
    everything = chain.from_iterable(Order(count, batch=count, seed=seed)(number))
    return [index for _, index in islice(everything, count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100, 1001])
def test_an_epoch_has_every_sample_once(count):
    assert sorted(epoch(7, count)) == list(range(count))


def test_epochs_and_seeds_differ():
    assert len({tuple(epoch(number, seed=seed)) for seed in range(3) for number in range(3)}) == 9


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


def test_a_step_takes_as_long_with_ten_million_million_samples():
    (step,) = steps(10**13, start=10**9, batch=64, many=1)
    assert len({index for _, index in step}) == 64
    assert {epoch for epoch, _ in step} == {0} and max(index for _, index in step) < 10**13
