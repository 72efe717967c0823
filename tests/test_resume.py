"""A run that is stopped, and goes on with as many processes as before or others, ends the same."""

import hashlib
import random
from functools import partial
from itertools import chain

import pytest

from processes import joined
from sgmim import distributed, runs, training
from sgmim.cli import main
from sgmim.options import contents
from shell import ENCODER, FEW, SCENES, handed_over, log

KINDS = {
    "1 process": (1, "ddp"),
    "2 DDP": (2, "ddp"),
    "2 FSDP2": (2, "fsdp"),
}
# all that makes it hard: random depth, several micro-batches, a moving average
HARD = ("--encoder.drop_path=0.3", "--training.accumulate=2", "--training.ema=0.9")
STEPS = 4
METHODS = list(contents("methods"))
FEW_METHODS = ["sgmim", "dino"]  # with the most that has to be kept
LIGHT = ("--method.decoder_depth=1", "--method.decoder_width=16", "--method.decoder_heads=2")
OPTIONS = {  # of methods that have others than squares to hide
    "mae": LIGHT,
    "sgmim_visible": ("--method.mask_size=8", *LIGHT),
    "multimae": LIGHT,
    "croco": LIGHT,
    "mocov3": ("--method.hidden=16", "--method.dim=8"),
    "dino": ("--method.hidden=16", "--method.prototypes=24", "--batches.views={part_size: 16}"),
}


def pretrain(run, method, strategy, *words):
    sized = f"--training.steps={STEPS}"
    own = OPTIONS.get(method, ("--method.mask_size=8",))
    return main(["pretrain", method, *ENCODER, *FEW, *own, *SCENES, sized, f"--run={run}",
                 f"--parallel.strategy={strategy}", *words])  # fmt: skip


def stopped(run, method, strategy, stop, every):
    """Begin a run, and break off in step number `stop`, wherever its saving is."""
    through, count = training._backward, iter(range(stop))

    def broken_off(*args):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return through(*args)

    training._backward = broken_off
    code = pretrain(run, method, strategy, *HARD, f"--training.save_every={every}")
    training._backward = through
    return code


def digest(run):
    """SHA-256 of all that it hands over; the order of a file's header is not always the same."""
    found = hashlib.sha256()
    for name, tensor in sorted(handed_over(run).items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def resumed(folder, method, strategy, stops):
    """In how many of so many runs the stop left no trace."""
    straight, draw, kept = folder / "straight", random.Random(method), 0
    assert pretrain(straight, method, strategy, *HARD) == 0
    for number in range(stops):
        run = folder / f"stopped_{number}"
        stop, every = draw.randint(1, STEPS - 1), draw.randint(1, 2)
        assert stopped(run, method, strategy, stop, every) == 130
        distributed.barrier()
        assert pretrain(run, method, strategy, *HARD, f"--training.save_every={every}") == 0
        distributed.barrier()
        kept += digest(run) == digest(straight)
    return kept


def resumed_each(folder, strategy, methods):
    return {method: resumed(folder / method, method, strategy, 1) for method in methods}


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """What is imported on first use is imported before processes are forked."""
    pretrain(tmp_path_factory.mktemp("warm"), "sgmim", "ddp", "--training.steps=1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "methods", [FEW_METHODS, pytest.param(METHODS, marks=pytest.mark.slow)], ids=["two", "all"]
)
def test_a_stopped_run_of_any_method_ends_with_the_same_weights_to_the_bit(kind, methods, tmp_path):
    world, strategy = KINDS[kind]
    kept = joined(lambda rank: resumed_each(tmp_path, strategy, methods), world, tmp_path)
    assert kept == [dict.fromkeys(methods, 1)] * world


def elastic(folder, strategy, worlds, steps):
    """The losses and the samples of every step of a run that changes its number of processes."""
    took, end = [], 0
    run = folder / strategy
    for number, world in enumerate(worlds):
        end += steps // len(worlds)
        work = partial(recording, run, strategy, steps, end)
        parts = joined(work, world, folder / f"{strategy}_{number}")
        took += [list(chain(*samples)) for samples in zip(*parts, strict=True)]
    return took, [row["loss"] for row in log(run)]


def recording(run, strategy, steps, end, rank):
    """Go on with a run until some step; returns the samples of this process's share, by step."""
    took, shuffled = [], runs.seeded

    def noted(batches, *args, **options):
        for number, batch in enumerate(shuffled(batches, *args, **options), options["start"]):
            if number == end:
                raise KeyboardInterrupt
            took.append(batch["key"].tolist())
            yield batch

    runs.seeded = noted
    words = (f"--training.steps={steps}", f"--training.save_every={end}")
    assert pretrain(run, "sgmim", strategy, *words) == (0 if end == steps else 130)
    return took


def differences(folder, steps):
    """Between a run on one process, and on 4, 2, 1 and 4 again: of samples, and of losses."""
    samples, straight = elastic(folder, "ddp", (1,), steps)
    for strategy in ("ddp", "fsdp"):
        took, losses = elastic(folder / "elastic", strategy, (4, 2, 1, 4), steps)
        yield took == samples, max(abs(a - b) for a, b in zip(losses, straight, strict=True))


@pytest.mark.slow
def test_the_number_of_processes_may_change(tmp_path):
    for same, difference in differences(tmp_path, steps=8):
        assert same and difference < 1e-5
