"""Against SimMIM's fine-tuning, forward and backward; and what probes and fine-tuning promise."""

import pytest
import torch

from conftest import close_gradient, golden, official, swin, vit
from sgmim.encoders.weights import load_into
from sgmim.tasks.classification import Classification

CASES = {  # how SimMIM pools each; the name that the authors give what comes after pooling
    "finetune_swin": ("simmim", {}),
    "finetune_vit": ("simmim_vit", {"norm": "pooled"}),
}
NAMES = {"head.": "head.", "fc_norm.": "norm."}  # what is no encoder's, theirs and ours


def finetuned(case):
    """The task of a golden case: its pre-training checkpoint in an encoder of another size."""
    meta, io = golden(case)
    if case == "finetune_swin":
        encoder, weights = swin(meta["config"]), official("finetune_swin")
    else:
        blocks = {"use_rel_pos_bias": True, "use_shared_rel_pos_bias": False}
        encoder, weights = vit(meta["config"], **blocks), official("simmim_vit")
    report = load_into(encoder, weights)
    task = Classification(encoder, classes=5, **CASES[case][1])
    start = {name.removeprefix("start."): io[name] for name in io if name.startswith("start.")}
    task.load_state_dict({_ours(name): tensor for name, tensor in start.items()}, strict=False)
    return task, io, report


def _ours(name):
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return "encoder.backbone." + name


def near(ours, theirs):
    """The tolerance of these cases: tables that are interpolated carry the error of a spline."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("case", CASES)
def test_it_loads_and_computes_what_simmims_fine_tuning_does(case):
    task, io, report = finetuned(case)
    assert not report.missing and not report.unexplained
    near(task.features(io["image"]), io["features"])
    near(task.predict(io["image"]), io["logits"])
    [loss] = task({"image": io["image"], "label": io["label"]}).values()
    torch.testing.assert_close(loss, io["loss"], rtol=1e-4, atol=0)
    loss.backward()
    parameters = dict(task.named_parameters())
    for name in io:
        kind, _, theirs = name.partition(".")
        if kind == "loaded":
            near(parameters[_ours(theirs)].detach(), io[name])
        if kind == "grad":
            close_gradient(parameters[_ours(theirs)].grad, io[name])
