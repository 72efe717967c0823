"""Masks hide what they say, equally much in every image, and depend on an image's key alone."""

import numpy as np
import pytest
import torch

from conftest import golden, tiny
from sgmim.errors import ConfigurationError
from sgmim.masking import RandomMask, count_hidden, keys, only, refine

KEYS = torch.arange(1000)


@pytest.mark.parametrize(
    "squares, ratio, hidden",
    [  # spec: SimMIM rounds up; an exact share is not to grow by the error of binary fractions
        (36, 0.5, 18), (36, 0.6, 22), (36, 0.7, 26), (49, 0.5, 25), (49, 0.6, 30), (49, 0.7, 35),
        (100, 0.55, 55), (100, 0.07, 7), (100, 0.56, 56),
    ],
)  # fmt: skip
def test_as_many_squares_are_hidden_as_in_the_paper(squares, ratio, hidden):
    assert count_hidden(squares, ratio) == hidden


@pytest.mark.parametrize(
    "ratio, round_up, hidden",  # of 196 patches: spec, MAE keeps 49 and CroCo hides 176
    [(0.75, True, 147), (0.9, False, 176), (0.9, True, 177)],
)
def test_single_patches_are_hidden_where_no_size_is_given(ratio, round_up, hidden):
    encoder = tiny("vit", (224, 224))
    mask = RandomMask(encoder, ratio=ratio, size=None, round_up=round_up)
    assert mask.count == hidden
    assert (mask(KEYS[:9]).flatten(1).sum(1) == hidden).all()


@pytest.mark.parametrize("name, size", [("vit", None), ("vit", 32), ("swin", 32)])
def test_cells_are_seen_or_hidden_and_all_of_them_one_or_the_other(name, size):
    encoder = tiny(name)
    mask = RandomMask(encoder, ratio=0.7, size=size)
    hidden = mask(KEYS[:50])
    seen, unseen = mask.cells(hidden)
    every = torch.arange(encoder.grid[0] * encoder.grid[1]).expand(50, -1)
    assert torch.equal(torch.cat([seen, unseen], dim=1).sort(dim=1).values, every)
    coarse = hidden[:, :: mask.stride // encoder.patch, :: mask.stride // encoder.patch].flatten(1)
    assert coarse.gather(1, unseen).all() and not coarse.gather(1, seen).any()


def test_whole_squares_are_hidden_and_equally_many_in_every_image():
    mask = RandomMask(tiny("swin"), ratio=0.5, size=16)  # 4 x 6 squares of 4 x 4 patches
    hidden = mask(KEYS)
    assert hidden.shape == (1000, 16, 24)
    assert (hidden.flatten(1).sum(1) == 12 * 16).all()
    inside = hidden.unfold(1, 4, 4).unfold(2, 4, 4).flatten(3).float().mean(3)
    assert set(inside.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("config", [0, 1])
def test_every_square_is_hidden_as_often_as_in_the_authors_generator(config):
    _, io = golden("mask_generator")
    theirs = io[f"frequency.{config}"]
    rows = theirs.shape[0]
    image, patch = rows * 32, io[f"masks.{config}"].shape[1]
    encoder = tiny("swin", (image, image)) if image // patch == 4 else tiny("vit", (image, image))
    mask = RandomMask(encoder, ratio=0.6, size=32)
    assert mask.count == round(theirs.sum().item())
    share = mask.count / theirs.numel()
    ours = mask(torch.arange(2000))[:, :: mask.unit, :: mask.unit].float().mean(0)
    deviation = np.sqrt(share * (1 - share) / 2000)
    assert (ours - share).abs().max() < 4 * deviation
    assert (theirs - share).abs().max() < 4 * deviation


def test_a_mask_depends_on_the_key_and_the_stream_alone():
    mask = RandomMask(tiny("vit"), size=16)
    whole = mask(KEYS)
    assert torch.equal(whole[[5, 3]], mask(KEYS[[5, 3]]))
    assert not torch.equal(whole, mask(KEYS, stream=1))
    assert len({tuple(hidden.flatten().tolist()) for hidden in whole}) > 900


def test_a_part_names_its_cells_and_squares_by_their_place():
    mask = RandomMask(tiny("vit"), ratio=0.5, size=32)  # 2 x 3 squares of 2 x 2 cells
    hidden = mask(KEYS[:5])
    part = mask.part(hidden)
    assert torch.equal(part.at(16), hidden)
    marked = torch.zeros(5, 24, dtype=torch.bool).scatter(1, part.cells, True)
    assert torch.equal(marked.view(5, 4, 6), hidden)
    rest = mask.part(~hidden, mask.squares - mask.count)
    assert rest.cells.shape[1] + part.cells.shape[1] == 24
    assert not (rest.marked & part.marked).any()


def test_images_without_keys_are_masked_anew_each_time():
    batch = {"image": torch.zeros(4, 3, 64, 96)}
    assert not torch.equal(keys(batch), keys(batch))
    assert torch.equal(keys(batch | {"key": KEYS[:4]}), KEYS[:4])


def test_what_is_not_asked_for_is_nothing():
    values, where = torch.ones(2, 1, 4, 4), torch.tensor([[True, False], [False, True]])
    left = only(values, where.expand(2, 2, 2))
    assert torch.equal(left.isfinite()[:, 0], refine(where.expand(2, 2, 2), 2))


@pytest.mark.parametrize("options", [{"size": 24}, {"size": 20}, {"ratio": 1.0}, {"size": 0}])
def test_squares_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigurationError):
        RandomMask(tiny("vit"), **options)
