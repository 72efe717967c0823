"""Weights are KAMIM's, and what follows from their formula."""

from itertools import product
from math import exp, inf

import pytest
import torch

from conftest import golden
from sgmim.errors import ConfigurationError, DataError
from sgmim.weighting import Weights, jumps

DETECTORS = ("fast", "sift", "orb")
RASTERS = ("ring", "stamp", "point", "disk", "gaussian")


def points(*shape, share=0.02, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share).float()


def batch(**maps):
    (first, *_) = maps.values()
    return {"image": torch.zeros(len(first), 3, *first.shape[2:]), **maps}


@pytest.mark.parametrize("detector", DETECTORS)
def test_weights_are_the_authors(detector):
    meta, io = golden("kamim_keypoints")
    theirs_map = io[f"{detector}.map"][:, None].float()
    for size, temperature in product(meta["config"]["w_ps"], meta["config"]["temperature"]):
        if detector == "fast":  # from the points, by our own drawing
            starts = io["fast.xy"].split(io["fast.count"].tolist())
            theirs_map = torch.zeros_like(theirs_map)
            for one, xy in zip(theirs_map, starts, strict=True):
                one[0, xy[:, 1].long(), xy[:, 0].long()] = 1
        weights = Weights(of=detector, size=size, temperature=temperature)
        ours = weights(batch(**{weights.needs[0]: theirs_map}))[:, 0, ::size, ::size]
        theirs = io[f"weights.{detector}.ps{size}.T{temperature}"]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("raster", RASTERS)
@pytest.mark.parametrize("temperature", [0.1, 0.25, 1.0])
def test_the_least_weight_is_1_and_none_is_above_its_bound(raster, temperature):
    found = Weights(raster=raster, temperature=temperature)(batch(fast=points(3, 1, 64, 96)))
    assert torch.equal(found.amin(dim=(1, 2, 3)), torch.ones(3))
    assert 1 < found.amax() <= exp(1 / temperature) * (1 + 1e-6)


@pytest.mark.parametrize("normalize", ["min", "mean"])
def test_without_keypoints_every_weight_is_1(normalize):
    found = Weights(normalize=normalize)(batch(fast=torch.zeros(2, 1, 32, 64)))
    assert torch.equal(found, torch.ones(2, 1, 32, 64))


@pytest.mark.parametrize("normalize", ["min", "mean", "none"])
@pytest.mark.parametrize("of", ["fast", "edges", "depth"])
def test_at_an_infinite_temperature_every_weight_is_1(of, normalize):
    weights = Weights(of=of, temperature=inf, normalize=normalize)
    found = weights(batch(**{of: torch.rand(2, 1, 32, 64)}))
    assert torch.equal(found, torch.ones(2, 1, 32, 64))


def test_weights_are_the_formula():
    drawn = torch.rand(2, 1, 16, 24)
    density = drawn.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(-1, -2))
    raw = (density / 0.5).exp()
    for normalize, over in (("none", 1), ("mean", raw.mean(dim=(1, 2, 3), keepdim=True))):
        ours = Weights(of="edges", temperature=0.5, normalize=normalize)(batch(edges=drawn))
        torch.testing.assert_close(ours[..., ::8, ::8], raw / over)
        assert (ours.unfold(2, 8, 8).unfold(3, 8, 8) == ours[..., ::8, ::8, None, None]).all()


def test_weights_are_finite_whatever_the_map_holds():
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 1e30, -1e30, 0.5] * 64)
    for of in ("edges", "depth", "fast"):
        found = Weights(of=of, temperature=0.01)(batch(**{of: odd.view(1, 1, 16, 24)}))
        assert found.isfinite().all()


def test_weights_have_no_gradient():
    edges = torch.rand(1, 1, 16, 16, requires_grad=True)
    assert not Weights(of="edges")(batch(edges=edges)).requires_grad


@pytest.mark.parametrize(
    "options, needs",
    [
        ({}, "fast"),
        ({"of": "orb"}, "orb_rings"),
        ({"of": "sift"}, "sift_rings"),
        ({"of": "sift", "raster": "stamp"}, "sift"),
        ({"of": "orb", "raster": "point"}, "orb"),
        ({"of": "edges"}, "edges"),
        ({"of": "depth"}, "depth"),
    ],
)
def test_they_need_the_map_that_they_are_drawn_from(options, needs):
    assert Weights(**options).needs == (needs,)


def test_a_stamp_is_a_ring_for_fast():
    fast = batch(fast=points(2, 1, 32, 64))
    assert torch.equal(Weights(raster="ring")(fast), Weights(raster="stamp")(fast))


def test_a_jump_is_a_large_change_and_both_of_its_sides_count():
    depth = torch.linspace(0, 1, 64).expand(1, 1, 32, 64).clone()
    assert not jumps(depth, 0.25).any()
    depth[..., 40:] += 2
    at = torch.tensor([column in (39, 40) for column in range(64)]).float().expand(1, 1, 32, 64)
    assert torch.equal(jumps(depth, 0.25), at)
    assert torch.equal(jumps(depth.mT, 0.25), at.mT)
    assert torch.equal(jumps(7 * depth - 3, 0.25), at)  # in units of its own deviation


def test_nothing_jumps_into_the_unknown():
    depth = torch.zeros(1, 1, 16, 16)
    depth[..., 5:9, 5:9] = torch.nan
    depth[..., 12:, :] = 1
    found = jumps(depth, 0.25)
    assert found[..., 11:13, :].all() and found.sum() == 2 * 16


def test_a_change_in_any_channel_is_a_jump():
    normals = torch.zeros(1, 3, 16, 16)
    normals[:, 1, :, 8:] = 1
    assert jumps(normals, 0.25).sum() == 2 * 16


@pytest.mark.parametrize("wrong", ["size", "temperature", "radius", "sigma", "jump"])
def test_numbers_that_are_none_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=f"{wrong} of weights is above 0, not 0"):
        Weights(**{wrong: 0 if wrong == "size" else 0.0})


def test_patches_that_do_not_divide_the_image_are_refused_with_those_that_do():
    with pytest.raises(ConfigurationError, match=r"64 x 96 images.*nearest size that does is 8"):
        Weights(size=10).check((64, 96))


def test_a_map_of_another_size_than_its_image_is_refused():
    wrong = {"image": torch.zeros(1, 3, 32, 32), "fast": torch.zeros(1, 1, 32, 40)}
    with pytest.raises(DataError, match="32 x 40 pixels and its image 32 x 32"):
        Weights()(wrong)


def test_a_mean_weight_above_10_is_told():
    half = points(2, 1, 64, 64, share=0.08)
    half[..., 40:] = 0
    many = batch(fast=half)
    mean = Weights()(many).mean().item()
    assert mean > 10
    (told,) = Weights().warnings(many)
    assert f"mean weight of the loss is {mean:.3g}" in told and "temperature above 0.25" in told
    assert Weights(temperature=1.0).warnings(many) == []
    assert Weights(raster="point").warnings(many) == []
    assert Weights(normalize="mean").warnings(many) == []


def test_a_map_that_cannot_be_one_of_keypoints_is_refused_before_a_run():
    depth = 1000 * torch.rand(2, 1, 32, 32)
    with pytest.raises(DataError, match=r"the map 'fast' has values from .* is --data.maps.fast"):
        Weights().warnings(batch(fast=depth))
    Weights(of="depth").warnings(batch(depth=depth))  # any numbers have jumps
