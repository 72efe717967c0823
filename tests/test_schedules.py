import pytest
import torch

from conftest import golden
from sgmim.plan import Plan
from sgmim.schedules import (
    Cosine,
    CosineAfterWarmup,
    Multistep,
    OneStepLate,
    SawTooth,
    UpAndDown,
    scaled_lr,
)

RUNS = [
    "simmim_pretrain__swin_base__img192_window6__100ep",
    "simmim_pretrain__swin_base__img192_window6__800ep",
    "simmim_pretrain__swin_large__img192_window12__800ep",
    "simmim_pretrain__vit_base__img224__800ep",
    "simmim_finetune__swin_base__img192_window6__100ep",
    "simmim_finetune__swin_base__img224_window7__100ep",
    "simmim_finetune__swin_base__img224_window7__800ep",
    "simmim_finetune__swin_large__img224_window14__800ep",
    "simmim_finetune__vit_base__img224__800ep",
]


def of_run(run, epoch):
    """Our schedule for one of the authors' configurations; `epoch` in steps."""
    options = {
        "lr": run["base_lr_scaled"],
        "warmup": run["warmup_epochs"] * epoch,
        "warmup_lr": run["warmup_lr_scaled"],
    }
    if run["scheduler"] == "cosine":
        return Cosine(steps=run["epochs"] * epoch, min_lr=run["min_lr_scaled"], **options)
    milestones = tuple(number * epoch for number in run["multisteps_epochs"])
    return Multistep(milestones=milestones, gamma=run["gamma"], **options)


def assert_follows(schedule, theirs):
    ours = torch.tensor([schedule(step) for step in range(len(theirs))], dtype=torch.float64)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("name", RUNS)
def test_every_rate_of_simmim_is_the_authors(name):
    meta, io = golden("lr_schedule")
    schedule = of_run(meta["schedules"][name], meta["config"]["n_iter_per_epoch"])
    assert_follows(schedule, io[f"{name}.value"])
    assert_follows(OneStepLate(schedule), io[f"{name}.used"])


def test_no_published_run_of_simmim_is_left_out():
    meta, _ = golden("lr_schedule")
    assert set(meta["schedules"]) == set(RUNS)


def test_depth_fine_tuning_goes_up_and_down_as_the_authors():
    meta, io = golden("param_groups")
    run = meta["config"]["depth_poly"]
    steps = run["epochs"] * run["iterations"]
    schedule = UpAndDown(lr=run["max_lr"], min_lr=run["min_lr"], steps=steps, power=run["power"])
    assert_follows(schedule, io["depth_poly_lr"])
    assert schedule(10 * steps) == run["min_lr"]


def test_mae_warms_up_first_and_then_follows_the_cosine():
    meta, io = golden("param_groups")
    run = meta["config"]["mae_lr"]
    epoch = run["steps_per_epoch"]
    steps, warmup = run["epochs"] * epoch, run["warmup_epochs"] * epoch
    schedule = CosineAfterWarmup(lr=run["lr"], min_lr=run["min_lr"], steps=steps, warmup=warmup)
    assert_follows(schedule, io["mae_lr"])


def test_multimae_reaches_its_rate_on_the_last_step_of_the_warmup():
    meta, io = golden("param_groups")
    run = meta["config"]["multimae_lr"]
    epoch = run["niter_per_ep"]
    schedule = CosineAfterWarmup(
        lr=run["base"],
        min_lr=run["final"],
        steps=run["epochs"] * epoch,
        warmup=run["warmup_epochs"] * epoch,
        warmup_lr=float(run["start_warmup_value"]),
        inclusive=True,
    )
    assert_follows(schedule, io["multimae_lr"])


@pytest.mark.parametrize("kind", [Cosine, CosineAfterWarmup])
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_a_cosine_ends_at_its_smallest_rate_and_stays_there(kind, warmup):
    schedule = kind(lr=1.0, steps=20, warmup=warmup, min_lr=0.25)
    assert schedule(20) == schedule(1000) == 0.25
    assert all(0 <= schedule(step) <= 1 for step in range(20))


def test_kamim_s_loop_runs_through_two_epochs_of_the_schedule_in_each():
    """As it goes: the rate is set after every second micro-batch, by the number of the latter."""
    epoch, schedule = 7, Cosine(lr=1.0, steps=70, warmup=7, warmup_lr=1e-3, min_lr=1e-2)
    theirs, rate = [], schedule(0)
    for number in range(12):
        for micro_batch in range(2 * epoch):
            if micro_batch % 2:
                theirs.append(rate)
                rate = schedule(number * epoch + micro_batch)
    saw_tooth = SawTooth(schedule, epoch)
    assert [saw_tooth(step) for step in range(12 * epoch)] == theirs
    assert saw_tooth(3 * epoch) < saw_tooth(3 * epoch + 1)  # back by an epoch, so up
    assert [SawTooth(schedule, epoch, 1)(s) for s in range(70)] == [
        OneStepLate(schedule)(s) for s in range(70)
    ]


def test_the_last_epochs_are_level_where_the_plan_says_so():
    options = {"batch": 4, "lr_per": 0, "lr": 1.0, "min_lr": 0.25, "warmup_epochs": 2.0}
    plain = Plan(epochs=10.0, **options).schedule_for(40)
    for schedule in ("cosine", "late_cosine", "saw_tooth"):
        longer = Plan(epochs=13.0, floor_epochs=3.0, schedule=schedule, **options)
        assert longer.length(40) == 130
        rates = [longer.schedule_for(40)(step) for step in range(130)]
        assert rates[101:] == [0.25] * 29
        assert schedule != "cosine" or rates[:100] == [plain(step) for step in range(100)]


def test_the_rate_of_the_paper_follows_from_its_batch():
    assert scaled_lr(2e-4, 1024) == pytest.approx(4e-4)  # SG-MIM: 8 devices x 128 images
    assert scaled_lr(1.5e-4, 4096, per=256) == pytest.approx(2.4e-3)  # MAE
