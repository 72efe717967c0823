import pytest
import torch
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from conftest import batch_for, tiny
from processes import joined
from sgmim import distributed
from sgmim.distributed import parallel
from sgmim.distributed.parallel import Parallel
from sgmim.ema import MovingAverage
from sgmim.errors import ConfigurationError
from sgmim.methods.sgmim import SGMIM
from sgmim.optim import adamw
from sgmim.training import read, steps

CPU = torch.device("cpu")
WORLD = 4
KINDS = {
    "ddp": Parallel(),
    "fsdp": Parallel(strategy="fsdp"),
    "kept": Parallel(strategy="fsdp", reshard=False),
    "hybrid": Parallel(strategy="hybrid", group=2),
}


def trained(encoder, how, rank, accumulate=1, **options):
    """What came of a few steps: losses and norms, the weights, their average, a picture."""
    torch.manual_seed(0)
    method = SGMIM(tiny(encoder, **options))
    ema = MovingAverage(method, decay=0.5)
    for model in (method, ema.objective):
        parallel.place(model, CPU, how)
    batch = batch_for(method, size=WORLD * accumulate)
    shares = [
        {name: tensor[part::accumulate][rank : rank + 1] for name, tensor in batch.items()}
        for part in range(accumulate)
    ]
    taken = steps(
        distributed.wrap(method), adamw(method, lr=1e-3), shares * 2,
        accumulate=accumulate, clip=0.5, precision="fp32", ema=ema,
    )  # fmt: skip
    numbers = [distributed.mean(read(step)) for step in taken]
    with torch.no_grad():
        painted = method.pictures(batch)["image, painted"]
    parallel.let_go(method)
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in method.parameters())
    return {
        "numbers": numbers,
        "weights": parallel.weights_of(method),
        "average": parallel.weights_of(ema.objective),
        "painted": painted,
        "held": held / sum(p.numel() for p in method.parameters()),
    }


def all_kinds(rank):
    found = {}
    for kind, how in KINDS.items():
        found["vit", kind] = trained("vit", how, rank)
        found["accumulated", kind] = trained("vit", how, rank, accumulate=2)
    for kind in ("ddp", "fsdp"):
        found["one bias for all blocks", kind] = trained("simmim_vit", KINDS[kind], rank)
        again = kind == "fsdp"
        found["recomputed", kind] = trained("swinv2", KINDS[kind], rank, checkpointing=again)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return joined(all_kinds, WORLD, tmp_path_factory.mktemp("processes"))


CASES = [(case, kind) for case in ("vit", "accumulated") for kind in ("fsdp", "kept", "hybrid")]
CASES += [("one bias for all blocks", "fsdp"), ("recomputed", "fsdp")]


@pytest.mark.parametrize(("case", "kind"), CASES)
def test_a_shared_model_learns_as_a_whole_one(case, kind, found):
    for process in found:
        shared, whole = process[case, kind], process[case, "ddp"]
        assert_close(shared["numbers"], whole["numbers"], rtol=1e-5, atol=1e-5)
        assert_close(shared["painted"], whole["painted"], rtol=1e-4, atol=1e-4)
    for part in ("weights", "average"):  # the main process alone gets them
        assert_close(found[0][case, kind][part], found[0][case, "ddp"][part], rtol=0, atol=1e-5)


def test_each_process_holds_its_share_alone(found):
    held = {kind: found[0]["vit", kind]["held"] for kind in KINDS}
    assert held["ddp"] == 1 and 0.5 <= held["hybrid"] < 0.55
    assert 0.25 <= held["fsdp"] < 0.3 and 0.25 <= held["kept"] < 0.3


def test_one_process_needs_no_sharing():
    method = SGMIM(tiny("vit"))
    parallel.place(method, CPU, Parallel(strategy="fsdp"))
    assert not parallel.is_shared(method)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": 2}, "only strategy hybrid"),
        ({"strategy": "fsdp", "group": 2}, "only strategy hybrid"),
        ({"strategy": "hybrid", "group": -1}, "group is 0"),
        ({"weights": "bf16"}, "with ddp nothing is gathered"),
        ({"reshard": False}, "with ddp nothing is gathered"),
        ({"timeout": 0.0}, "timeout is a number"),
        ({"timeout": float("nan")}, "timeout is a number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        Parallel(**options)


def test_weights_in_bf16_are_of_no_use_to_a_forward_pass_in_fp32():
    how = Parallel(strategy="fsdp", weights="bf16")
    assert how.gathers_bf16(CPU, "bf16") and not Parallel().gathers_bf16(CPU, "auto")
    with pytest.raises(ConfigurationError, match=r"training\.precision"):
        how.gathers_bf16(CPU, "fp32")


@pytest.mark.parametrize(
    ("nodes", "group", "said"),
    [
        (2, 3, "groups of 3"),
        (3, 0, "groups of 3"),
        ("cyclic", 0, "node by node"),
        (2, 0, None),
        (4, 2, None),
    ],
)
def test_groups_are_those_of_a_node_or_divide_the_processes(nodes, group, said, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 4)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    own, local = (0, 2) if nodes == "cyclic" else (1, nodes)
    monkeypatch.setenv("LOCAL_RANK", str(own))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    how = Parallel(strategy="hybrid", group=group)
    if said is None:
        assert how.shards == 2
        return
    with pytest.raises(ConfigurationError, match=said):
        _ = how.shards
