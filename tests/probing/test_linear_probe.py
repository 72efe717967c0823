"""Linear probes: all rates at once are each one by itself; what is held out is never trained on."""

import pytest
import torch
from torch.nn import functional as F
from torch.optim import SGD, AdamW

from sgmim import draws
from sgmim.errors import ConfigurationError
from sgmim.probing import linear
from sgmim.probing.labeled import Labeled
from sgmim.probing.linear import Heads, LinearProbe, best, fit, probe, scored

FEW = LinearProbe(rates=(0.01, 0.1, 1.0), epochs=4, warmup_epochs=1)


def blobs(count=180, classes=6, dim=10, seed=0, spread=0.05):
    """Features around a corner for each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    features = torch.eye(classes, dim)[labels]
    return Labeled(features + spread * torch.randn(count, dim, generator=generator), labels)


@pytest.mark.parametrize(
    "optimizer, rates", [("lars", (1.0, 10.0)), ("sgd", (0.001, 0.01)), ("adamw", (0.01, 0.1))]
)
@pytest.mark.parametrize("normalize", [True, False])
def test_separable_features_are_told_apart(optimizer, rates, normalize):
    how = LinearProbe(optimizer=optimizer, rates=rates, normalize=normalize, epochs=8)
    found = probe(blobs(), blobs(seed=1), 6, how, seed=0)
    assert found["scores"] == {"top1": 1.0, "top5": 1.0, "macc": 1.0}


def test_labels_that_are_shuffled_are_guessed_by_chance():
    train, test = blobs(600, spread=1.0), blobs(600, seed=1, spread=1.0)
    mixed = [
        Labeled(one.features, one.labels[torch.randperm(600, generator=torch.manual_seed(s))])
        for s, one in enumerate((train, test))
    ]
    found = probe(*mixed, 6, FEW, seed=0)
    assert abs(found["scores"]["top1"] - 1 / 6) < 0.06  # three deviations of 600 guesses are 0.046


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
def test_a_head_of_a_grid_is_the_head_that_would_have_been_trained_alone(optimizer):
    how = LinearProbe(optimizer=optimizer, epochs=2, warmup_epochs=1, weight_decay=0.01)
    together = fit(blobs(), 6, how, (0.0001, 0.001, 0.01), seed=5)
    for number, rate in enumerate((0.0001, 0.001, 0.01)):
        alone = fit(blobs(), 6, how, (rate,), seed=5)
        torch.testing.assert_close(together.weight[number], alone.weight[0])
        torch.testing.assert_close(together.bias[number], alone.bias[0])


@pytest.mark.parametrize("optimizer, theirs", [("sgd", SGD), ("adamw", AdamW)])
def test_a_head_is_what_torch_trains_with_a_plain_loop(optimizer, theirs):
    how = LinearProbe(
        optimizer=optimizer, epochs=2, warmup_epochs=0, batch=64, normalize=False, held_out=0.1
    )
    train = blobs(64 * 16)
    ours = fit(train, 6, how, (0.2,), seed=3)
    model = Heads(1, 10, 6, normalize=False, seed=3)
    momentum = {"momentum": 0.9} if theirs is SGD else {}
    own = theirs(model.parameters(), lr=1.0, weight_decay=0.0, **momentum)
    for step in range(32):
        if step % 16 == 0:
            seed = draws.key(3, step // 16, 1)
            order = torch.randperm(64 * 16, generator=torch.Generator().manual_seed(seed))
        rows = order[step % 16 * 64 :][:64]
        top = 0.2 * (64 / 256 if theirs is SGD else 1)
        share = (1 + torch.tensor(torch.pi * step / 32).cos().item()) / 2
        own.param_groups[0]["lr"] = top * share
        loss = F.cross_entropy(model(train.features[rows])[:, 0], train.labels[rows])
        own.zero_grad()
        loss.backward()
        own.step()
    torch.testing.assert_close(ours.weight, model.weight)
    torch.testing.assert_close(ours.bias, model.bias)


def test_lars_adapts_weights_to_their_length_and_leaves_biases_alone():
    heads = Heads(1, 4, 2, normalize=False, seed=0)
    ((weight, bias),) = heads.separate()
    optimizer = linear._optimizer([(weight, bias)], [0.5], LinearProbe(optimizer="lars"))
    before = weight.detach().clone()
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    optimizer.step()
    step = 0.5 * 0.001 * before.norm() / weight.grad.norm()
    torch.testing.assert_close(before - weight, step * torch.ones_like(weight))
    torch.testing.assert_close(bias, torch.full_like(bias, -0.5))


def test_the_test_data_play_no_part_before_the_end(monkeypatch):
    train, test = blobs(), blobs(seed=1)
    seen = []
    whole = linear.fit

    def watched(part, *rest):
        seen.append(part.features)
        return whole(part, *rest)

    monkeypatch.setattr(linear, "fit", watched)
    found = probe(train, test, 6, FEW, seed=0)
    kept, everything = seen
    assert len(kept) + found["held_out"] == len(everything) == len(train)
    both = torch.cat([kept, test.features])
    assert len(both.unique(dim=0)) == len(both) and torch.equal(everything, train.features)
    other = Labeled(test.features.flip(0), test.labels)
    again = probe(train, other, 6, FEW, seed=0)
    assert again["rate"] == found["rate"] and again["grid"] == found["grid"]
    assert again["scores"] != found["scores"]


def test_what_chooses_the_rate_is_trained_on_by_no_head_of_the_grid(monkeypatch):
    train, rows = blobs(), []
    monkeypatch.setattr(
        linear,
        "judged",
        lambda said, labels, known=linear.judged: rows.append(len(labels)) or known(said, labels),
    )
    found = probe(train, blobs(seed=1), 6, FEW, seed=0)
    assert rows == [found["held_out"]] * 3 and found["held_out"] == 18


def test_the_rate_is_the_one_that_is_best_on_what_was_held_out():
    found = probe(blobs(spread=0.5), blobs(seed=1, spread=0.5), 6, FEW, seed=0)
    most = max(row["top1"] for row in found["grid"])
    (chosen,) = [row for row in found["grid"] if row["rate"] == found["rate"]]
    assert chosen["top1"] == most


def test_a_seed_gives_the_same_and_another_seed_another_outcome():
    train, test = blobs(spread=1.0), blobs(seed=1, spread=1.0)
    outcomes = [FEW.outcomes(train, test, 6, seeds=2) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    first, second = outcomes[0]
    assert (first["seed"], second["seed"]) == (0, 1) and first["grid"] != second["grid"]


def test_features_of_odd_scales_are_seen_through_the_batch_norm():
    scales = torch.logspace(-3, 3, 10)
    train, test = (Labeled(b.features * scales, b.labels) for b in (blobs(), blobs(seed=1)))
    how = LinearProbe(optimizer="sgd", rates=(0.003, 0.01), epochs=8)
    assert probe(train, test, 6, how, seed=0)["scores"]["top1"] == 1.0


def test_a_head_that_diverged_is_not_chosen():
    labels = torch.zeros(4, dtype=torch.int64)  # of which no number at all is right by chance
    lost = {"rate": 9.0, **linear.judged(torch.full((4, 2), torch.nan), labels)}
    poor = {"rate": 1.0, **linear.judged(torch.tensor([[0.0, 1.0]] * 4), labels)}
    assert lost["loss"] is None and poor["top1"] == 0.0
    assert best([lost, poor]) == best([poor, lost]) == 1.0 and best([lost]) == 9.0


def test_of_rates_that_are_right_as_often_the_surer_is_chosen():
    rows = [{"rate": r, "top1": 0.5, "loss": loss} for r, loss in ((1.0, 2.0), (2.0, 1.0))]
    assert best(rows) == 2.0 and best([*rows, {"rate": 3.0, "top1": 0.6, "loss": 9.0}]) == 3.0


def test_a_head_is_scored_alike_in_pieces_and_at_once(monkeypatch):
    train = blobs()
    heads = fit(train, 6, FEW, (0.1, 1.0), seed=0)
    with torch.no_grad():
        whole = heads(train.features)[:, 1]
    monkeypatch.setattr(linear, "CHUNK", 7)
    torch.testing.assert_close(scored(heads, train.features, 1), whole)


@pytest.mark.parametrize(
    "wrong", [{"rates": ()}, {"rates": (0.0,)}, {"held_out": 1.0}, {"epochs": 0}, {"batch": 0}]
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        LinearProbe(**wrong)


def test_without_test_data_it_is_said_how_to_hold_some_out():
    with pytest.raises(ConfigurationError, match="--test_share"):
        FEW.check(known=100, asked=0)
