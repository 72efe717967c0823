"""What every method promises of a run: it can be stopped, shared and compiled."""

from copy import deepcopy
from functools import partial
from itertools import islice
from multiprocessing import get_context

import pytest
import torch
from torch.testing import assert_close

from conftest import batch_for
from processes import joined
from roster import FORMS, METHODS, made
from sgmim import distributed
from sgmim.checkpoint import latest, save
from sgmim.distributed.parallel import Parallel, place
from sgmim.draws import seeded
from sgmim.objective import Moment
from sgmim.optim import adamw
from sgmim.training import steps
from toys import micro

STEPS, WORLD = 4, 2


def data(method, start=0):
    """Batch `number` is always the same."""
    for number in range(start, STEPS):
        yield batch_for(method, size=4, seed=number)


class Run:
    def __init__(self, form):
        torch.manual_seed(0)
        self.method = made(form, "vit", drop_path=0.3)
        self.optimizer = adamw(self.method, lr=1e-3)

    def go(self, start, end):
        batches = seeded(data(self.method, start), seed=3, start=start)
        taken = steps(self.method, self.optimizer, batches, start=start, total=STEPS, epoch=2.0)
        assert len(list(islice(taken, end - start))) == end - start
        return self

    def state(self):
        return self.method.state_dict(), self.optimizer.state_dict()["state"]


@pytest.mark.parametrize("form", METHODS)
def test_a_run_that_was_stopped_ends_at_the_same_weights_to_the_bit(form, tmp_path):
    stopped, resumed = Run(form).go(0, 2), Run(form)
    save(tmp_path, 2, stopped.method, stopped.optimizer)
    latest(tmp_path).restore(resumed.method, resumed.optimizer)
    assert_close(resumed.go(2, 4).state(), Run(form).go(0, 4).state(), rtol=0, atol=0)


def shared(forms, rank):
    """The weights and statistics of every form after a few steps on this process's share."""
    return {form: trained(form, rank) for form in forms}


def trained(form, rank):
    torch.manual_seed(0)
    method = made(form, "vit")
    place(method, torch.device("cpu"), Parallel(), "fp32")
    parameters = [p for p in method.parameters() if p.requires_grad]
    plain = torch.optim.SGD(parameters, lr=0.02)  # AdamW makes steps of differences in rounding
    batches = [micro(b, distributed.world())[rank] for b in islice(data(method), 2)]
    model = distributed.wrap(method)
    for step in steps(model, plain, batches, total=STEPS, precision="fp32"):
        assert not step.failed
    return {name: tensor.detach() for name, tensor in method.state_dict().items()}


def test_two_processes_learn_what_one_does_from_the_whole_batch(tmp_path):
    one = shared(METHODS, 0)
    for several in joined(partial(shared, METHODS), WORLD, tmp_path):
        for form in METHODS:
            assert_close(several[form], one[form], rtol=1e-4, atol=1e-5, msg=partial(said, form))


def said(form, message):
    return f"{form}: {message}"


@pytest.fixture(scope="module")
def unchecked():
    """A process in which shapes are not checked: a compiler cannot follow that."""
    with get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_it_is_one_graph_to_a_compiler_and_stays_it(form, unchecked):
    unchecked.apply(compile_alike, (form,))


def compile_alike(form):
    torch.compiler.reset()
    torch.manual_seed(0)
    method = made(form, "vit")
    batch, same = batch_for(method, size=4), deepcopy(method)  # a step may change a center
    compiled = torch.compile(same, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(2):
            for each in (method, same):
                each.begin(Moment(step, 2, step / 2))
            loss = sum(compiled(batch).values())
            assert_close(loss, sum(method(batch).values()), rtol=1e-5, atol=1e-5)
    loss.backward()
    assert not [n for n, p in same.named_parameters() if p.requires_grad and p.grad is None]
