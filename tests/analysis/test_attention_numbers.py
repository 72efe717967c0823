"""Attention distance and mutual information: the authors' numbers, and known ends."""

from itertools import product
from math import dist, hypot

import pytest
import torch

from conftest import golden, tiny
from sgmim.analysis import figure
from sgmim.analysis.attention_distance import AttentionDistance, distance, distances
from sgmim.analysis.attention_information import AttentionInformation, information
from sgmim.analysis.base import Subject
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError


def cells(height, width, stride=1):
    """The middles of all cells, as doubles."""
    return stride * torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()


def apart(height, width, stride=1):
    """The mean distance of all pairs of cells, pair by pair."""
    places = list(product(range(height), range(width)))
    return stride * sum(dist(one, other) for one in places for other in places) / len(places) ** 2


def looking_alike(encoder):
    """With queries that are nothing: every token looks at all tokens alike that it may."""
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.qkv.weight.zero_()
            if not encoder.is_plain:
                block.attn.relative_position_bias_table.zero_()
    return Subject("it", encoder.eval(), "imagenet")


def images(count, *, each=2, size=(64, 96), channels=3):
    torch.manual_seed(0)
    every = torch.randn(count, channels, *size)
    return [{"image": some} for some in every.split(each)]


def test_numbers_are_those_of_the_authors_code():
    _, io = golden("analysis")
    matrix = distances(cells(6, 6, 16))
    torch.testing.assert_close(matrix, io["distance_matrix"])
    attention = io["attention"][..., 1:, 1:]  # (layers, b, heads, 36, 36)
    ours = distance(attention, matrix.float()).double()
    torch.testing.assert_close(ours, io["attention_distance"], rtol=1e-5, atol=0)
    torch.testing.assert_close(information(attention), io["nmi"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("size", "pixels"), [(192, 99.75), (224, 116.49)])
def test_uniform_attention_looks_half_an_image_away(size, pixels):
    shape = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    encoder = make_encoder("vit_tiny_patch16_224", image_size=size, options=shape)
    found = AttentionDistance().look(looking_alike(encoder), images(1, size=(size, size)))
    for row in found.rows:
        assert row["pixels"] == pytest.approx(pixels, abs=0.01)
        assert row["pixels, uniform"] == pytest.approx(row["pixels"], rel=1e-5)
        assert row["diagonal"] == pytest.approx(0.3674, abs=1e-3)  # at any size


def test_on_a_grid_that_is_not_square_pixels_are_pixels():
    found = AttentionDistance().look(looking_alike(tiny("vit", (64, 96))), images(2))
    for row in found.rows:
        assert row["pixels"] == pytest.approx(apart(4, 6, 16), rel=1e-5)
        assert row["diagonal"] == pytest.approx(apart(4, 6, 16) / hypot(64, 96), rel=1e-5)


def test_in_a_swin_windows_bound_what_is_seen_and_shifts_part_it():
    subject = looking_alike(tiny("swin", (64, 128), window=4))
    found = AttentionDistance().look(subject, images(2, size=(64, 128)))
    blocks = {row["block"]: row for row in found.rows}
    assert blocks[1]["pixels"] == pytest.approx(apart(4, 4, 4), rel=1e-5)
    assert blocks[2]["pixels"] == pytest.approx(apart(4, 4, 8), rel=1e-5)
    assert blocks[5]["pixels"] == pytest.approx(
        apart(2, 4, 32), rel=1e-5
    )  # the whole grid is 2 x 4
    # shifted by 2: of 2 x 4 windows 3 are whole, 4 halved one way or the other, one quartered
    shifted = 3 * apart(4, 4, 8) + (3 + 1) * apart(2, 4, 8) + apart(2, 2, 8)
    assert blocks[3]["pixels"] == pytest.approx(shifted / 8, rel=1e-5)
    for row in found.rows:
        assert row["pixels, uniform"] == pytest.approx(row["pixels"], rel=1e-5)


@pytest.mark.parametrize("encoder", ["simmim_vit", "swin"])
def test_numbers_do_not_depend_on_how_images_are_batched(encoder):
    subject = Subject("it", tiny(encoder).eval(), "imagenet")
    for analysis in (AttentionDistance(), AttentionInformation()):
        one, other = (analysis.look(subject, images(3, each=each)) for each in (3, 2))
        for row, again in zip(one.rows, other.rows, strict=True):
            assert row.pop("grid") == again.pop("grid")
            assert row == pytest.approx(again, rel=1e-4, abs=1e-5)
        assert {(row["block"], row["head"]) for row in one.rows} == {
            (place, head + 1)
            for place, block in enumerate(subject.encoder.blocks, 1)
            for head in range(block.attn.num_heads)
        }


def test_information_is_0_where_all_look_at_the_same_and_1_where_each_at_its_own():
    assert information(torch.full((9, 9), 1 / 9)) == pytest.approx(0, abs=1e-6)
    assert information(torch.eye(9)[3].expand(9, 9)) == pytest.approx(0, abs=1e-3)
    assert information(torch.eye(9)) == pytest.approx(1, abs=1e-5)
    assert information(torch.eye(9)[torch.randperm(9)]) == pytest.approx(1, abs=1e-5)
    assert information(torch.ones(1, 1)) == 0


def test_distance_is_0_for_who_looks_at_itself():
    assert distance(torch.eye(12), distances(cells(3, 4))) == pytest.approx(0)


def test_what_is_left_of_attention_without_the_class_token_is_made_whole():
    probabilities = torch.rand(2, 3, 12, 12).softmax(dim=-1)
    away, share = distances(cells(3, 4)).float(), torch.rand(2, 3, 12, 1)
    torch.testing.assert_close(distance(share * probabilities, away), distance(probabilities, away))


def test_images_of_several_sizes_are_compared_by_their_diagonals():
    small, large = tiny("vit", (64, 64)), tiny("vit", (96, 96))
    found = {
        f"{encoder.image_size[0]}": AttentionDistance().look(
            Subject("it", encoder.eval(), "imagenet"), images(1, size=encoder.image_size)
        )
        for encoder in (small, large)
    }
    with figure.style():
        assert "diagonal" in AttentionDistance().draw(found).axes[0].get_ylabel()
        assert "pixels" in AttentionDistance().draw({"64": found["64"]}).axes[0].get_ylabel()
        with pytest.raises(ConfigurationError, match="several sizes say nothing"):
            AttentionDistance(unit="pixels").draw(found)
