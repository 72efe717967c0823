import pytest
import torch

from conftest import golden
from sgmim.errors import ConfigurationError
from sgmim.plan import Plan
from sgmim.schedules import (
    Cosine,
    CosineAfterWarmup,
    Multistep,
    OneCycle,
    OneStepLate,
    Polynomial,
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


def torchs(make, steps):
    """The rates of a schedule of torch's, for a rate of 0.5."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize(
    ("steps", "share", "div", "final"), [(100, 0.3, 25, 100), (40, 0.5, 1, 10)]
)
def test_one_cycle_is_torch_s(steps, share, div, final):
    def theirs(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.5, steps, pct_start=share, div_factor=div, final_div_factor=final
        )

    options = {"warmup_lr": 0.5 / div, "min_lr": 0.5 / div / final}
    schedule = OneCycle(lr=0.5, steps=steps, warmup=round(share * steps), **options)
    assert_follows(schedule, torchs(theirs, steps - 1))
    assert schedule(steps - 1) == schedule(10 * steps) == pytest.approx(options["min_lr"])


@pytest.mark.parametrize("power", [1.0, 0.9])
def test_the_polynomial_is_torch_s_with_its_rate_twice_as_in_mmsegmentation(power):
    def theirs(optimizer):
        up = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-6, total_iters=14)
        down = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=84, power=power)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [up, down], [15])

    schedule = Polynomial(lr=0.5, steps=100, warmup=15, warmup_lr=0.5e-6, power=power)
    assert_follows(schedule, torchs(theirs, 99))
    assert schedule(14) == schedule(15) == 0.5 and schedule(99) == schedule(1000) == 0


def test_depth_on_kitti_has_the_rates_of_the_published_run():
    schedule = UpAndDown(lr=5e-4, min_lr=3e-5, steps=24 * 964)
    rates = {1: 3.01e-5, 964: 8.02e-5, 5784: 2.819e-4, 11568: 5e-4, 17352: 2.481e-4}
    rates |= dict.fromkeys((23136, 24100), 3e-5)
    ours = {step: schedule(step - 1) for step in rates}  # the authors count from 1
    assert ours == pytest.approx(rates, rel=1e-3)


def test_a_plan_has_the_schedules_of_bins_and_of_segmentation():
    options = {"steps": 1000, "lr_per": 0, "lr": 1e-4, "warmup_steps": 300}
    binsformer = Plan(schedule="one_cycle", warmup_lr=4e-6, min_lr=4e-8, **options).schedule_for(64)
    assert binsformer == OneCycle(lr=1e-4, steps=1000, warmup=300, warmup_lr=4e-6, min_lr=4e-8)
    ade20k = Plan(schedule="polynomial", warmup_lr=1e-10, min_lr=0.0, **options).schedule_for(64)
    assert ade20k == Polynomial(lr=1e-4, steps=1000, warmup=300, warmup_lr=1e-10)


def test_a_plan_has_the_schedules_of_moco_v3_and_dino():
    mocov3 = Plan(epochs=20.0, batch=4, lr=2.4e-3, lr_per=0, schedule="late_cosine",
                  warmup_epochs=4.0, warmup_lr=0.0, min_lr=0.0)  # fmt: skip
    theirs = golden("moco_v3")[1]["lr_schedule"].tolist()
    ours = mocov3.schedule_for(20)
    assert [ours(step) for step in range(100)] == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    dino = Plan(epochs=12.0, batch=4, lr=5e-4, lr_per=0, schedule="inclusive_cosine",
                warmup_epochs=3.0, warmup_lr=0.0, min_lr=1e-6, last_weight_decay=0.4)  # fmt: skip
    theirs = golden("dino")[1]["cosine_scheduler"].tolist()
    ours = dino.schedule_for(16)
    assert [ours(step) for step in range(48)] == pytest.approx(theirs, rel=1e-9)
    decay = dino.weight_decay_for(0.04, 16)
    assert [decay(0), decay(24), decay(48)] == pytest.approx([0.04, 0.22, 0.4])
    assert mocov3.weight_decay_for(0.1, 16) is None


def test_a_warm_up_may_be_given_in_steps():
    by_steps = Plan(batch=4, epochs=10.0, warmup_steps=15).schedule_for(40)
    assert by_steps == Plan(batch=4, epochs=10.0, warmup_epochs=1.5).schedule_for(40)
    none = Plan(batch=4, warmup_steps=0).schedule_for(40)
    assert none == Plan(batch=4, warmup_epochs=0.0).schedule_for(40)
    with pytest.raises(ConfigurationError, match="warmup_steps is 0 or more, not -1"):
        Plan(warmup_steps=-1)


@pytest.mark.parametrize("kind", [Cosine, CosineAfterWarmup, Polynomial, OneCycle])
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_a_decaying_rate_ends_at_its_smallest_and_stays_there(kind, warmup):
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
