"""The losses of depth against the authors' numbers, and what they owe to holes."""

import math

import pytest
import torch

from conftest import close_gradient, golden
from sgmim.tasks.depth_losses import LOSSES

SILOGS = ["silog", "silog_bts", "silog_adabins"]
TRUTH = torch.tensor([[[[1.0, 2.0, 4.0, 8.0, 20.0]]]])
PREDICTION = torch.tensor([[[[1.1, 1.7, 5.2, 7.5, 30.0]]]])


def loss(name, prediction, truth):
    return LOSSES[name](prediction, truth, (truth > 0) & truth.isfinite())


def test_silog_is_the_authors():
    meta, io = golden("depth_eval")
    for name, theirs in meta["results"]["silog_loss"].items():
        dataset, index = name.split(".")
        (height, width), unit = {
            "nyudepthv2": ((480, 640), 1000),
            "kitti": ((352, 1216), 256),
        }[dataset]
        truth, prediction = (  # as the golden README says to unpack them, in meters
            io[f"{dataset}.{index}.{kind}_code"].repeat_interleave(8, 0).repeat_interleave(8, 1)
            for kind in ("gt", "pred")
        )
        truth = truth[None, None, :height, :width] / unit
        prediction = prediction[None, None, :height, :width] / unit
        error = loss("silog", prediction.requires_grad_(), truth)
        assert error.item() == pytest.approx(theirs["loss"], rel=1e-5)
        bts = loss("silog_bts", prediction, truth).item() / 10
        assert bts == pytest.approx(theirs["loss_lambda_0.85"], rel=1e-5)
        error.backward()
        assert prediction.grad.norm().item() == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_berhu_and_l1_are_multimae_s():
    _, io = golden("dpt_multimae_depth")
    known = io["mask_valid"].bool()
    for name, theirs in (("berhu", io["berhu_loss"]), ("l1", io["l1_loss"])):
        ours = LOSSES[name](io["prediction"], io["target"], known)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_the_gradient_of_berhu_is_that_of_its_formula_with_the_bend_held_fixed():
    _, io = golden("dpt_multimae_depth")
    known, prediction = io["mask_valid"].bool(), io["prediction"].clone().requires_grad_()
    LOSSES["berhu"](prediction, io["target"], known).backward()
    error = (io["prediction"] - io["target"]).where(known, 0)
    bend = 0.2 * error.abs().max()
    slope = torch.where(error.abs() < bend, error.sign(), error / bend)
    close_gradient(prediction.grad, slope / known.sum())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("silog", 0.220980),
        ("silog_bts", 2.116806),
        ("silog_adabins", 2.357536),
        ("berhu", 5.62),
        ("l1", (0.1 + 0.3 + 1.2 + 0.5 + 10) / 5),
    ],
)
def test_losses_of_a_handful_of_pixels(name, value):
    assert loss(name, PREDICTION, TRUTH).item() == pytest.approx(value, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", SILOGS)
def test_silog_is_the_same_in_any_unit(name):
    truth, prediction = torch.rand(2, 2, 1, 8, 8) + 0.5
    meters, feet = loss(name, prediction, truth), loss(name, prediction / 0.3048, truth / 0.3048)
    torch.testing.assert_close(meters, feet)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("unknown", [math.nan, 0.0, -1.0, math.inf])
@pytest.mark.parametrize("predicted", [7.0, 0.0, math.nan, math.inf])
def test_no_loss_looks_where_nothing_is_known(name, unknown, predicted):
    truth, prediction = torch.rand(2, 2, 1, 8, 8) + 0.5
    truth[:, :, :3] = unknown
    other = prediction.clone()
    other[:, :, :3] = predicted
    other.requires_grad_()
    error = loss(name, other, truth)
    assert error == loss(name, prediction, truth)
    torch.testing.assert_close(error, loss(name, prediction[:, :, 3:], truth[:, :, 3:]))
    error.backward()
    assert other.grad.isfinite().all() and not other.grad[:, :, :3].any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("truth", [torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), math.nan)])
@pytest.mark.parametrize("predicted", [1.0, 0.0, -1.0])
def test_the_gradient_is_finite_when_all_is_right_or_nothing_known(name, truth, predicted):
    prediction = torch.full((1, 1, 4, 4), predicted, requires_grad=True)
    error = loss(name, prediction, truth)
    error.backward()
    assert error.isfinite() and prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_single_known_pixel_is_enough(name):
    truth = torch.full((1, 1, 4, 4), math.nan)
    truth[0, 0, 1, 2] = 2.0
    prediction = torch.full((1, 1, 4, 4), 3.0, requires_grad=True)
    loss(name, prediction, truth).backward()
    assert prediction.grad.isfinite().all() and prediction.grad[0, 0, 1, 2] > 0


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_whatever_the_prediction_is(name):
    truth = torch.rand(1, 1, 16, 16) + 0.5
    prediction = (truth * 1.2).bfloat16()
    assert loss(name, prediction, truth) == loss(name, prediction.float(), truth)
