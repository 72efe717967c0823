import copy
import math
import weakref

import pytest
import torch
from torch.testing import assert_close

from sgmim import draws
from sgmim.ema import MovingAverage, approach
from sgmim.errors import ConfigurationError
from sgmim.objective import Moment
from sgmim.optim import adamw
from sgmim.precision import faster_in_bf16
from sgmim.schedules import Cosine
from sgmim.training import DivergedError, read, steps
from toys import Toy, batches, micro, toy


def trained(data, dropout=0.0, lr=1e-2, **options):
    """A toy after training, and what the loop yielded."""
    objective = toy(dropout)
    options = {"precision": "fp32"} | options
    optimizer = options.pop("optimizer", None) or adamw(objective, lr=lr)
    return objective, list(steps(objective, optimizer, data, **options))


class Fused(torch.optim.Optimizer):
    """One that sees for itself whether to step, as on a GPU; any other is waited for."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 1e-3, "weight_decay": 0.0, "fused": True})

    def step(self):
        pass


def poisoned(batch):
    return {"image": batch["image"].clone().index_fill_(0, torch.tensor([0]), math.nan)}


@pytest.mark.parametrize("clip", [None, 0.1])
def test_four_micro_batches_take_the_step_of_one_batch(clip):
    whole = list(batches(3, size=8))
    pieces = [piece for batch in whole for piece in micro(batch, 4)]
    one, one_steps = trained(whole, clip=clip)
    four, four_steps = trained(pieces, clip=clip, accumulate=4)
    assert_close(four.state_dict(), one.state_dict(), rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(four_steps, one_steps, strict=True):
        assert_close(ours.losses, theirs.losses, rtol=1e-6, atol=1e-6)
        assert_close(ours.grad_norm, theirs.grad_norm, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_a_step_is_clipped_once_to_the_given_norm():
    objective = toy()
    sgd = torch.optim.SGD(objective.parameters(), lr=1.0)
    before = torch.nn.utils.parameters_to_vector(objective.parameters()).clone()
    pieces = micro(next(batches(1, size=8)), 4)
    (step,) = steps(objective, sgd, pieces, accumulate=4, clip=0.01, precision="fp32")
    moved = torch.nn.utils.parameters_to_vector(objective.parameters()) - before
    assert step.grad_norm > 0.1
    assert_close(moved.norm().item(), 0.01, rtol=1e-4, atol=0)


def test_each_gradient_may_be_clipped_by_itself():
    objective, batch = toy(), next(batches(1))
    sgd = torch.optim.SGD(objective.parameters(), lr=1.0)
    before = [p.detach().clone() for p in objective.parameters()]
    sum(objective(batch).values()).backward()
    gradients = [p.grad.clone() for p in objective.parameters()]
    options = {"clip": 0.2, "clip_each": True, "precision": "fp32"}
    list(steps(objective, sgd, [batch], **options))
    assert min(g.norm() for g in gradients) < 0.2 < max(g.norm() for g in gradients)
    for old, now, gradient in zip(before, objective.parameters(), gradients, strict=True):
        expected = gradient * min(1.0, 0.2 / gradient.norm().item())
        assert_close(old - now.detach(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("clip", [None, 0.01, 100.0])
def test_a_fused_optimizer_clips_as_any_other(clip):
    results = []
    for fused in (True, False):
        objective = toy()
        optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2, eps=1e-2, fused=fused)
        list(steps(objective, optimizer, batches(3), clip=clip, precision="fp32"))
        results.append(objective.state_dict())
    assert_close(*results, rtol=1e-5, atol=1e-6)


def test_each_step_has_the_rate_of_the_schedule_times_the_share_of_the_layer():
    objective = toy()
    optimizer = adamw(objective, lr=1.0)
    optimizer.param_groups[0]["lr_scale"] = 0.5
    schedule = Cosine(lr=0.1, steps=9, warmup=3)
    for step in steps(objective, optimizer, batches(9, start=4), schedule=schedule, start=4):
        assert step.lr == schedule(step.number)
        rates = {group["lr"] for group in optimizer.param_groups}
        assert rates == {schedule(step.number), schedule(step.number) * 0.5}
    assert step.number == 8


def test_weight_decay_can_follow_a_schedule_where_there_is_any():
    objective = toy()
    optimizer = adamw(objective, lr=1e-3)
    for step in steps(objective, optimizer, batches(3), weight_decay=lambda step: 0.1 * (step + 1)):
        decays = {group["weight_decay"] for group in optimizer.param_groups}
        assert decays == {0.0, 0.1 * (step.number + 1)}


def test_without_a_schedule_the_rate_stays():
    _, taken = trained(batches(3), lr=0.02)
    assert [step.lr for step in taken] == [0.02] * 3


def test_batches_left_over_make_no_step():
    objective, taken = trained(batches(5), accumulate=2)
    only, _ = trained(batches(4), accumulate=2)
    assert len(taken) == 2
    assert_close(list(objective.parameters()), list(only.parameters()), rtol=0, atol=0)


def test_a_step_without_a_finite_gradient_changes_no_weight():
    good = list(batches(4))
    bad = [good[0], poisoned(good[1]), *good[1:]]
    smooth, rough = toy(), toy()
    for objective, data in ((smooth, good), (rough, bad)):
        taken = list(steps(objective, adamw(objective, lr=1e-2), data))
    assert [step.failed.item() for step in taken] == [0, 1, 0, 0, 0]
    assert_close(list(rough.parameters()), list(smooth.parameters()), rtol=0, atol=0)
    assert math.isnan(read(taken[1])["loss"])


def test_a_run_that_fails_three_times_in_a_row_has_diverged():
    bad = [poisoned(batch) for batch in batches(3)]
    objective, taken = trained([*batches(1), *bad])
    read(taken[2])
    with pytest.raises(DivergedError, match=r"up to step 3 .* 3 times in a row .*far nan"):
        read(taken[3])
    assert all(parameter.isfinite().all() for parameter in objective.parameters())


def test_the_numbers_of_a_step_are_its_losses_and_their_sum():
    _, (step,) = trained(batches(1))
    numbers = read(step)
    assert set(numbers) == {"loss", "far", "near", "grad_norm", "lr"}
    assert numbers["loss"] == pytest.approx(numbers["far"] + numbers["near"])


def test_what_is_yielded_keeps_no_graph_alive():
    _, taken = trained(batches(2), accumulate=2)
    assert not any(loss.requires_grad for step in taken for loss in step.losses.values())


def test_gradients_are_freed_before_the_next_forward_pass():
    objective, alive = toy(), []
    gradients: list[weakref.ref] = []

    def look(module, inputs):
        alive.extend(gradient() is not None for gradient in gradients)

    objective.register_forward_pre_hook(look)
    for _ in steps(objective, adamw(objective, lr=1e-2), batches(3), precision="fp32"):
        gradients = [weakref.ref(p.grad) for p in objective.parameters() if p.grad is not None]
    assert alive and not any(alive)


def test_no_step_waits_for_a_number_from_the_device():
    nowhere = torch.device("meta")  # has no numbers: whoever asks for one fails
    objective = toy(dropout=0.1).to(nowhere)
    ema = MovingAverage(objective)
    data = [{"image": torch.zeros(2, 3, 8, 8, device=nowhere)} for _ in range(4)]
    optimizer = Fused(objective.parameters())
    taken = list(steps(objective, optimizer, data, accumulate=2, ema=ema))
    assert len(taken) == 2
    with pytest.raises(RuntimeError):
        read(taken[0])


def test_a_map_that_is_missing_is_named_before_the_first_step():
    objective = toy()
    objective.needs = ("image", "depth")
    with pytest.raises(ConfigurationError, match="needs depth"):
        next(steps(objective, adamw(objective, lr=1.0), batches(1)))


def test_bf16_leaves_weights_and_losses_in_full_precision():
    objective, (step,) = trained(batches(1), precision="bf16")
    exact, (exact_step,) = trained(batches(1))
    assert {loss.dtype for loss in step.losses.values()} == {torch.float32}
    assert {parameter.dtype for parameter in objective.parameters()} == {torch.float32}
    assert_close(step.losses, exact_step.losses, rtol=2e-2, atol=0)
    assert step.losses["far"] != exact_step.losses["far"]
    assert exact.head.weight.dtype == torch.float32


def test_a_cpu_uses_bf16_only_where_it_has_instructions_for_it():
    can = torch.cpu.get_capabilities()
    instructions = can.get("amx_bf16", False) or can.get("avx512_bf16", False)
    assert faster_in_bf16(torch.device("cpu")) == instructions
    assert not faster_in_bf16(torch.device("meta"))


def test_a_moving_average_follows_at_its_distance():
    objective = toy()
    ema = MovingAverage(objective, decay=0.75)
    expected = objective.head.weight.detach().clone()
    for _ in steps(objective, adamw(objective, lr=1e-2), batches(3), ema=ema):
        expected = 0.75 * expected + 0.25 * objective.head.weight.detach()
    assert_close(ema.objective.head.weight.detach(), expected)
    assert ema.objective.seen == objective.seen
    assert not any(parameter.requires_grad for parameter in ema.objective.parameters())


class Following(Toy):
    """A toy with a teacher, which knows the time."""

    def __init__(self):
        super().__init__()
        self.teacher = copy.deepcopy(self.head).requires_grad_(False)
        self.told = []

    def begin(self, moment):
        self.told.append(moment)

    def follow(self, good):
        approach(self.teacher, self.head, 0.5 * good)


def test_an_objective_is_told_the_time_of_every_step():
    objective = Following()
    optimizer = adamw(objective, lr=1e-2)
    for step in steps(objective, optimizer, batches(9, start=5), start=5, total=9, epoch=2.0):
        assert objective.told[-1] == Moment(step.number, 9, step.number / 2)
    assert step.number == 8
    objective.told.clear()
    list(steps(objective, optimizer, batches(2)))
    assert not objective.told  # of a run without an end there is nothing to tell


def test_what_follows_the_weights_stays_where_it_is_after_a_step_that_failed():
    objective = Following()
    expected = objective.teacher.weight.clone()
    data = [*batches(2), poisoned(next(batches(1)))]
    for number, _ in enumerate(steps(objective, adamw(objective, lr=1e-2), data)):
        if number < 2:
            expected = (expected + objective.head.weight.detach()) / 2
        assert_close(objective.teacher.weight, expected)


def test_random_numbers_of_a_batch_depend_on_seed_batch_and_rank_alone():
    def numbers(count, seed=0, **options):
        return [torch.rand(()).item() for _ in draws.seeded(range(count), seed, **options)]

    first = numbers(6)
    torch.rand(7)
    assert numbers(6) == first
    assert numbers(2, start=4) == first[4:]
    assert not set(numbers(6, seed=1)) & set(first)
    assert not set(numbers(6, rank=1)) & set(first)
