"""Nearest neighbors, against an oracle that takes one query after the other."""

import math

import pytest
import torch

from sgmim.errors import ConfigurationError
from sgmim.probing.labeled import Labeled
from sgmim.probing.neighbors import CHUNK, Neighbors, vote


def noise(count, dim=12, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, dim, generator=generator)
    return Labeled(features, torch.randint(classes, (count,), generator=generator))


def oracle(bank, query, classes, k, temperature, without=None):
    """The votes of one query."""
    found = []
    for number, (feature, label) in enumerate(zip(bank.features, bank.labels, strict=True)):
        if number != without:
            cosine = (feature @ query / (feature.norm() * query.norm())).item()
            found.append((cosine, int(label)))
    votes = [0.0] * classes
    for cosine, label in sorted(found, reverse=True)[:k]:
        votes[label] += math.exp(cosine / temperature)
    return votes


def voted(*asked, **how):
    """By number of neighbors, the votes of all queries."""
    parts = [votes for _, votes in vote(*asked, **how)]
    return {k: torch.cat([votes[k] for votes in parts]) for k in parts[0]}


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_are_those_of_brute_force(temperature):
    bank, queries = noise(60), noise(9, seed=1).features
    found = voted(bank, queries, 5, Neighbors(k=(4, 20), temperature=temperature))
    for k, votes in found.items():
        expected = [oracle(bank, query, 5, k, temperature) for query in queries]
        torch.testing.assert_close(votes, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_an_image_that_is_left_out_is_asked_of_all_others():
    bank, how = noise(30), Neighbors(k=(7,), temperature=0.5)
    votes = voted(bank, bank.features, 5, how, leave_out=True)[7]
    for number, query in enumerate(bank.features):
        expected = torch.tensor(oracle(bank, query, 5, 7, 0.5, without=number))
        torch.testing.assert_close(votes[number], expected, rtol=1e-4, atol=1e-4)


def test_leaving_out_is_right_in_every_chunk():
    bank = noise(CHUNK + 40)  # of random labels one's own is the only good neighbor
    how = Neighbors(k=(1,))
    (with_own,) = how.outcomes(bank, bank, 5)
    (without,) = how.outcomes(bank, None, 5)
    assert with_own["scores"]["top1"] == 1.0
    last = voted(bank, bank.features, 5, how, leave_out=True)[1][CHUNK:].argmax(dim=1)
    assert without["scores"]["top1"] < 0.4
    assert (last == bank.labels[CHUNK:]).float().mean() < 0.6


def test_the_length_of_a_feature_plays_no_part():
    bank, queries = noise(40), noise(6, seed=1).features
    longer = Labeled(bank.features * torch.rand(40, 1).add(0.1), bank.labels)
    one, other = (voted(b, queries, 5, Neighbors(k=(9,)))[9] for b in (bank, longer))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_what_is_separable_is_told_apart_for_every_number_of_neighbors():
    labels = torch.arange(60) % 3
    features = torch.eye(3)[labels] + 0.01 * torch.rand(60, 3)
    (found,) = Neighbors(k=(5, 1, 10)).outcomes(Labeled(features, labels), None, 3)
    assert found["scores"] == {"top1": 1.0, "macc": 1.0}
    assert found["by_k"] == {"1": 1.0, "5": 1.0, "10": 1.0}


def test_numbers_of_neighbors_that_there_are_not_are_left_out():
    (found,) = Neighbors(k=(20, 10, 100)).outcomes(noise(30), None, 5)
    assert found["by_k"].keys() == {"10", "20"}


def test_more_neighbors_than_there_are_is_refused():
    with pytest.raises(ConfigurationError, match="20 neighbors are to vote, and there are 19"):
        Neighbors(k=(20,)).check(20, 0)
    Neighbors(k=(20,)).check(20, 1)


@pytest.mark.parametrize("wrong", [{"k": ()}, {"k": (0,)}, {"temperature": 0.0}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        Neighbors(**wrong)
