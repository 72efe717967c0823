from dataclasses import replace
from math import exp

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge.maps.agreement import agreement
from sgmim.knowledge.maps.agreement import described as confidence_in
from sgmim.knowledge.maps.canonical import KINDS, canonical, checked, described, resized

INVERSE = Note(name="depth", kind="inverse")
FAR = Note(name="depth", kind="relative", direction="far_high")
NORMAL = Note(name="normals", kind="normal")
CLASS = Note(name="segments", kind="class")
PLAIN = Note(name="edges", scale=65535.0)


def raw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_far_is_high_and_every_map_fills_its_range():
    disparity = 7 * raw(3, 1, 6, 8) + torch.tensor([0.0, 5.0, -90.0])[:, None, None, None]
    made = canonical(disparity, INVERSE, (6, 8))
    assert made.values.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert made.values.amax((1, 2, 3)).tolist() == [1, 1, 1]
    for stored, given in zip(made.values, disparity, strict=True):
        assert stored.flatten().argmax() == given.flatten().argmin()


def test_the_raw_map_comes_back_from_its_range():
    given = 7 * raw(2, 1, 6, 8) - 3
    for note in (INVERSE, FAR):
        made = canonical(given, note, (6, 8))
        share = made.values if note is FAR else 1 - made.values
        low, high = (end[:, None, None, None] for end in (made.low, made.high))
        torch.testing.assert_close(low + share * (high - low), given)


@pytest.mark.parametrize("direction", ["near_high", "far_high"])
def test_the_note_speaks_of_what_is_stored(direction):
    said = described(replace(FAR, direction=direction), max_side=512)
    assert (said.direction, said.scale, said.low) == ("far_high", 65535.0, 0.0)
    assert said.per_image and said.kind == "relative" and said.max_side == 512
    assert described(NORMAL).low == -1 and described(CLASS).scale == 1
    assert described(Note(kind="metric")).direction == "far_high"
    assert described(PLAIN) == PLAIN


@pytest.mark.parametrize("size", [(24, 32), (12, 8), (5, 61)])
def test_bicubic_does_not_leave_the_range_of_the_raw_map(size):
    steps = (raw(2, 1, 9, 13) > 0.5).float()
    assert F.interpolate(steps, (24, 32), mode="bicubic").max() > 1.01
    for note in (INVERSE, FAR, PLAIN):
        made = canonical(steps, note, size)
        assert made.values.shape == (2, 1, *size)
        assert made.values.min() >= 0 and made.values.max() <= 1
        assert made.low.tolist() == [0, 0] and made.high.tolist() == [1, 1]


def test_what_has_its_size_is_not_touched():
    given = raw(2, 3, 6, 8)
    assert torch.equal(canonical(given, PLAIN, (6, 8)).values, given)
    metric = Note(kind="metric")
    assert torch.equal(canonical(9 * given[:, :1], metric, (6, 8)).values, 9 * given[:, :1])


def test_classes_are_never_blended():
    given = torch.randint(0, 3, (1, 1, 5, 7)).float() * 50
    assert set(resized(given, CLASS, (31, 45)).unique().tolist()) <= {0.0, 50.0, 100.0}
    assert resized(given - 1, CLASS, (5, 7)).isnan().equal(given == 0)


def test_normals_keep_their_length():
    made = resized(2 * raw(1, 3, 6, 8) - 1, NORMAL, (20, 30))
    torch.testing.assert_close(made.norm(dim=1), torch.ones(1, 20, 30))


def test_the_unknown_does_not_spoil_the_range():
    given = raw(1, 1, 6, 8)
    holed = given.clone()
    holed[..., 2, 3] = torch.nan
    made = canonical(holed, INVERSE, (6, 8))
    assert made.values.isnan().nonzero().tolist() == [[0, 0, 2, 3]]
    known = ~made.values.isnan()
    assert made.values[known].min() == 0 and made.values[known].max() == 1
    enlarged = canonical(holed, INVERSE, (60, 80)).values.isnan()
    assert enlarged[..., 20:30, 30:40].all() and enlarged.sum() <= 40 * 40  # as bicubic reaches


def test_a_constant_map_is_zero_and_known_as_such():
    made = canonical(torch.full((2, 1, 4, 4), 3.5), INVERSE, (8, 8))
    assert made.values.abs().max() == 0 and made.constant.tolist() == [True, True]
    assert canonical(torch.full((1, 1, 4, 4), torch.nan), INVERSE, (8, 8)).constant.all()
    assert not canonical(raw(1, 1, 4, 4), INVERSE, (8, 8)).constant.any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 1, 4, 4)), "ndarray"),
        (None, "NoneType"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 4, 4), r"\(2, 4, 4\) for 2 images"),
        (torch.zeros(1, 1, 4, 4), r"\(1, 1, 4, 4\) for 2 images"),
        (torch.zeros(2, 1, 0, 4), r"\(2, 1, 0, 4\)"),
        (torch.zeros(2, 3, 4, 4), "3 channels; of this kind they have 1"),
    ],
)
def test_what_is_no_map_is_refused(given, message):
    with pytest.raises(ConfigurationError, match=message):
        checked(given, 2, INVERSE)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_numbers_of_any_kind_become_floats(kind):
    given = torch.ones(2, 1, 4, 4).to(kind)
    assert torch.equal(checked(given, 2, CLASS), torch.ones(2, 1, 4, 4))


def test_what_is_not_finite_is_unknown():
    given = torch.tensor([1.0, torch.inf, -torch.inf, torch.nan]).view(1, 1, 2, 2)
    assert checked(given, 1, PLAIN).isnan().flatten().tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (Note(kind="inverze"), "did you mean"),
        (Note(kind="relative"), "must say the direction"),
        (Note(kind="metric", direction="near_high"), "cannot be meters and near_high"),
        (Note(direction="up", scale=1.0), "no direction 'up'"),
        (Note(), "must say a scale"),
    ],
)
def test_a_note_that_cannot_be_is_refused(note, message):
    with pytest.raises(ConfigurationError, match=message):
        described(note)


def test_points_are_not_made_smaller():
    assert "points" in KINDS
    with pytest.raises(ConfigurationError, match="max_side"):
        described(Note(kind="points", scale=1.0), max_side=64)


def test_a_source_that_knows_no_left_or_right_agrees_with_itself():
    for note, channels in ((INVERSE, 1), (PLAIN, 2), (CLASS, 1)):
        one = (3 * raw(2, channels, 6, 8)).round() if note is CLASS else raw(2, channels, 6, 8)
        assert (agreement(one, one.flip(-1), note, (12, 16)) > 1 - 1e-5).all()
    normals = raw(1, 3, 6, 8) - 0.5
    mirrored = normals.flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None]
    torch.testing.assert_close(agreement(normals, mirrored, NORMAL, (6, 8)), torch.ones(1, 1, 6, 8))


def test_confidence_falls_with_the_difference_over_the_range():
    one = torch.tensor([0.0, 10.0, 4.0, 4.0]).view(1, 1, 2, 2)
    other = torch.tensor([0.0, 9.0, 4.0, torch.nan]).view(1, 1, 2, 2)
    sure = agreement(one, other.flip(-1), INVERSE, (2, 2)).flatten()
    torch.testing.assert_close(sure, torch.tensor([1.0, exp(-1), 1.0, 0.0]))
    classes = agreement(one, (one + 1).flip(-1), CLASS, (2, 2))
    assert (classes == 0).all()


def test_there_is_no_confidence_in_points():
    with pytest.raises(ConfigurationError, match="no confidence for fast"):
        confidence_in(Note(name="fast", kind="points"))
    said = confidence_in(described(INVERSE))
    assert said.name == "depth_confidence" and said.kind is None and said.scale == 65535
