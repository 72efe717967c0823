"""A run of the authors, step by step: method, schedule, weight decay, clipping and loop at once."""

import pytest
import torch
from test_sgmim import authors_sgmim
from test_sgmim import theirs as sgmims
from test_simmim import authors_simmim

from conftest import golden, swin
from sgmim.optim import adamw
from sgmim.schedules import Cosine, Multistep, OneStepLate
from sgmim.training import read, steps


def simmims(name):
    heads = {"token": "encoder.mask_token", "head.weight": "decoder.0.weight"}
    heads |= {"head.bias": "decoder.0.bias"}
    for stage in (1, 2, 3):
        name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
    return heads.get(name, name.replace("encoder.backbone.", "encoder."))


def schedule_of(run):
    """Theirs, for the loop in which the rate is set after the optimizer's step."""
    epoch, options = run["steps_per_epoch"], {"lr": run["base_lr"], "warmup_lr": run["warmup_lr"]}
    options["warmup"] = run["warmup_epochs"] * epoch
    if run["scheduler"] == "cosine":
        steps = run["epochs"] * epoch
        return OneStepLate(Cosine(steps=steps, min_lr=run["min_lr"], **options))
    milestones = tuple(number * epoch for number in run["multisteps_epochs"])
    return OneStepLate(Multistep(milestones=milestones, gamma=run["gamma"], **options))


def masked_by_key(method, masks):
    """The method with image `key` hidden where the authors hid it."""
    drawn = {"__call__": lambda self, keys, stream=0: masks[keys]}
    method.mask.__class__ = type("Recorded", (type(method.mask),), drawn)
    return method


@pytest.mark.parametrize("name", ["simmim", "sgmim"])
def test_twelve_steps_go_as_the_authors_did(name):
    meta, io = golden(f"{name}_training")
    run = meta["config"]
    if name == "simmim":
        method, theirs = authors_simmim("simmim_swin", swin)[2], simmims
    else:
        method, theirs = authors_sgmim()[2], sgmims
    masked_by_key(method, io["masks"].bool())
    indices = [torch.tensor(batch) for batch in run["batch_indices_per_step"]]
    data = [{"image": io["images"][i], "key": i} for i in indices]
    if name == "sgmim":
        data = [batch | {"depth": io["depth_raw"][batch["key"]]} for batch in data]
    betas = tuple(run["betas"])
    optimizer = adamw(
        method, lr=1.0, weight_decay=run["weight_decay"], betas=betas, exclude="official"
    )
    taken = steps(
        method,
        optimizer,
        data,
        schedule=schedule_of(run),
        clip=run["clip_grad"],
        precision="fp32",
    )
    recorded = {"loss": io["loss"]}
    if name == "sgmim":
        recorded |= {"image": io["image_loss"], "depth": io["depth_loss"]}
    for number, ours in enumerate(map(read, taken)):
        first = number == 0
        for loss, values in recorded.items():
            rel = 1e-6 if first else 1e-4
            assert ours[loss] == pytest.approx(values[number].item(), rel=rel)
        norm = io["grad_norm"][number].item()
        assert ours["grad_norm"] == pytest.approx(norm, rel=1e-5 if first else 3e-2)
        assert ours["lr"] == pytest.approx(io["lr"][number].item(), rel=1e-9)
    final = {theirs(name): parameter.detach() for name, parameter in method.named_parameters()}
    for key, value in io.items():
        if key.startswith("final."):
            tolerance = 2e-3 if "decoder" in key else 1e-4
            ours = final[key.removeprefix("final.")].view_as(value)
            torch.testing.assert_close(ours, value, rtol=0, atol=tolerance)
    norms = meta["final_parameter_norms"]
    assert {name: final[name].norm().item() for name in final} == pytest.approx(
        {name: norms[name] for name in final}, rel=1e-3
    )
