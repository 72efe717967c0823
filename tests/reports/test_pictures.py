"""Sheets of pictures: what is where, in which color."""

import math

import matplotlib
import numpy as np
import pytest
import torch

from sgmim.errors import DataError
from sgmim.reports.pictures import HOLE, colorize, sheet, tile_size, value_ranges, wrapped


def pictures(rows=2, size=64):
    depth = torch.linspace(1, 5, size).expand(rows, 1, size, size).clone()
    return {
        "image": torch.rand(rows, 3, size, size),
        "depth": depth,
        "predicted depth": depth * 2,
        "edges": torch.rand(rows, 1, size, size),
    }


def colors_of(image):
    return set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))


def test_colors_are_the_colormap_s_from_low_to_high_and_grey_in_holes():
    values = torch.tensor([[0.0, 1.0, 2.0, math.nan, math.inf, -5.0, 9.0]])
    ours = colorize(values, 0.0, 2.0, "magma")[0]
    first, middle, last = matplotlib.colormaps["magma"]([0, 128, 255], bytes=True)[:, :3].tolist()
    expected = [first, middle, last, [*HOLE], [*HOLE], first, last]
    assert ours.tolist() == expected


def test_a_constant_map_has_a_color():
    assert len(colors_of(colorize(torch.full((4, 4), 3.0), 3.0, 3.0))) == 1


def test_maps_that_belong_together_have_the_same_range():
    sample = {name: picture[0] for name, picture in pictures().items()}
    ranges = value_ranges(sample)
    assert ranges["depth"] == ranges["predicted depth"] == (1, 10)
    assert ranges["edges"][1] < 1.01 and "image" not in ranges
    asked = value_ranges(sample, shared=[("depth", "edges")])
    assert asked["depth"] == asked["edges"] != asked["predicted depth"] == (2, 10)


def test_a_hole_has_no_range_but_does_not_spoil_others():
    nothing = torch.full((1, 8, 8), math.nan)
    assert math.isnan(value_ranges({"depth": nothing})["depth"][0])
    ranges = value_ranges({"depth": nothing, "predicted depth": torch.ones(1, 8, 8)})
    assert ranges["depth"] == (1, 1)
    assert HOLE in colors_of(sheet({"depth": nothing[None]}))


def test_small_pictures_are_enlarged_by_whole_numbers():
    assert tile_size({"image": torch.zeros(1, 3, 48, 64)}, 128) == (192, 144)
    assert tile_size({"image": torch.zeros(1, 3, 352, 1216)}, 128) == (1216, 352)
    with_coarse = {"edges": torch.zeros(1, 1, 8, 8), "image": torch.zeros(1, 3, 64, 64)}
    assert tile_size(with_coarse, 128) == (128, 128)


def test_a_sheet_has_a_row_for_each_sample_and_a_column_for_each_name():
    small, more = sheet(pictures(rows=1)), sheet(pictures(rows=3))
    fewer = sheet({name: picture for name, picture in pictures().items() if name != "edges"})
    assert more.width == small.width and more.height > small.height + 2 * 128
    assert 128 < more.width - fewer.width < 160


def test_a_sheet_shows_images_pixel_by_pixel_and_their_holes_in_grey():
    image = torch.zeros(1, 3, 2, 2)
    image[0, :, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    image[0, 1, 1, 1] = math.nan
    seen = np.asarray(sheet({"i": image}))
    for color in ((255, 0, 0), HOLE):
        assert (seen == color).all(axis=-1).sum() == 64 * 64


def test_a_sheet_leaves_what_it_is_given_alone():
    given = pictures()
    before = {name: picture.clone() for name, picture in given.items()}
    sheet(given)
    assert all(torch.equal(given[name], before[name]) for name in given)


def test_it_takes_half_precision_masks_and_what_still_has_a_gradient():
    sheet(
        {
            "image": torch.rand(1, 3, 8, 8, dtype=torch.bfloat16),
            "hidden": torch.rand(1, 1, 4, 4) < 0.5,
            "depth": torch.rand(1, 1, 8, 8, requires_grad=True),
        }
    )


def test_long_titles_are_broken_between_words():
    assert wrapped("depth", 128) == ["depth"]
    lines = wrapped("what the encoder is given to see", 128)
    assert len(lines) == 2 and " ".join(lines) == "what the encoder is given to see"


def test_a_picture_of_two_channels_is_an_error():
    with pytest.raises(DataError, match="'flow' has 2 channels"):
        sheet({"flow": torch.zeros(1, 2, 8, 8)})


def test_what_is_shown_and_predicted_of_a_map_has_the_map_s_colors_and_not_another_s():
    names = ("depth", "depth, shown", "depth, predicted", "edges", "edges, shown")
    sample = {name: torch.full((1, 2, 2), float(value)) for value, name in enumerate(names)}
    ranges = value_ranges(sample)
    assert ranges["depth"] == ranges["depth, shown"] == ranges["depth, predicted"] == (0, 2)
    assert ranges["edges"] == ranges["edges, shown"] == (3, 4)
