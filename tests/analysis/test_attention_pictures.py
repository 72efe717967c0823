"""Attention maps, planes of tokens: what is drawn is what there is."""

import sys

import numpy as np
import pytest
import torch

from conftest import tiny
from sgmim.analysis import figure, planes
from sgmim.analysis.attention_map import AttentionMap, cell_at, of_block, overlaid
from sgmim.analysis.base import Subject
from sgmim.analysis.tokens import Tokens
from sgmim.analysis.transformation import Transformation
from sgmim.encoders.attention import attention
from sgmim.errors import ConfigurationError


def subject(encoder, **options):
    return Subject("it", tiny(encoder, **options).eval(), "imagenet")


def images(count=2, size=(64, 96)):
    torch.manual_seed(0)
    return {"image": torch.randn(count, 3, *size), "label": torch.arange(count) % 2}


def test_a_point_is_the_cell_in_which_it_lies():
    of = next(attention(tiny("vit", (64, 224)).eval(), torch.randn(1, 3, 64, 224)))  # 4 x 14 cells
    assert cell_at((0.5, 0.5), of) == cell_at((112.0, 32.0), of) == 2 * 14 + 7
    assert cell_at((15.9, 16.0), of) == 14
    assert cell_at((0.0, 0.0), of) == 0
    assert cell_at((1.0, 1.0), of) == cell_at((224.0, 64.0), of) == 4 * 14 - 1
    for point in [(225.0, 3.0), (3.0, 65.0), (-0.1, 0.5)]:
        with pytest.raises(ConfigurationError, match=r"no point of an image of 224 x 64"):
            cell_at(point, of)


@torch.no_grad()
def test_a_map_is_the_attention_of_the_token_at_the_point():
    them, batch = subject("vit"), images()
    of = of_block(them.encoder, batch["image"], 1)
    found = AttentionMap(point=(40.0, 20.0), block=1, head=2).look(them, [batch])
    paid = torch.tensor([row["attention"] for row in found.rows]).view(2, 24)
    looking = 1 + 1 * 6 + 2  # after the class token, the second row, the third column
    torch.testing.assert_close(paid, of.probabilities[:, 0, 1, looking, 1:])
    assert [(r["row"], r["column"]) for r in found.rows if r["looking"]] == [(1, 2)] * 2


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["swin", "swinv2"])
def test_in_a_swin_it_is_the_window_as_it_lies_on_the_image(encoder):
    them, batch = subject(encoder, image_size=(64, 128), window=4), images(size=(64, 128))
    for block, edge in [(2, 4), (3, 2)]:  # of 8 x 16 cells; the second is shifted by two
        found = AttentionMap(point=(0.99, 0.99), block=block).look(them, [batch])
        reached = {(r["row"], r["column"]) for r in found.rows if r["attention"] > 1e-20}
        assert reached == {(r, c) for r in range(8 - edge, 8) for c in range(16 - edge, 16)}
        assert sum(row["attention"] for row in found.rows) == pytest.approx(2, rel=1e-5)


@torch.no_grad()
def test_the_class_token_looks_too_where_there_is_one():
    them, batch = subject("vit"), images()
    found = AttentionMap(of_class=True).look(them, [batch])
    of = of_block(them.encoder, batch["image"])
    paid = torch.tensor([row["attention"] for row in found.rows]).view(2, 24)
    torch.testing.assert_close(paid, of.probabilities[:, 0, :, 0, 1:].mean(dim=1))
    assert not any(row["looking"] for row in found.rows)
    with pytest.raises(ConfigurationError, match="no class token"):
        AttentionMap(of_class=True).look(subject("rotary_vit"), [batch])


def test_blocks_and_heads_that_are_not_there_are_refused():
    for options, told in [({"block": 3}, "blocks 1 to 2"), ({"head": 4}, "heads 1 to 3")]:
        with pytest.raises(ConfigurationError, match=told):
            AttentionMap(**options).look(subject("vit"), [images()])
    with pytest.raises(ConfigurationError, match="blocks 1 to 2, no block 0"):
        Transformation(block=0).look(subject("vit"), [images()])


def test_the_patch_that_is_looked_at_most_is_the_brightest_and_beyond_a_window_it_is_dim():
    paid = np.array([[0.1, 0.4], [0.2, np.nan]])
    drawn = overlaid(np.full((3, 4, 6), 0.5), paid).sum(axis=2)
    tiles = [drawn[:2, :3], drawn[:2, 3:], drawn[2:, :3], drawn[2:, 3:]]
    assert all(np.ptp(tile) < 1e-9 for tile in tiles)
    least, most, middle, beyond = (tile[0, 0] for tile in tiles)
    assert most > middle > least and beyond == pytest.approx(3 * 0.35 * 0.5)


@pytest.mark.parametrize(
    ("analysis", "encoder"), [(AttentionMap, "vit"), (Tokens, "swin"), (Transformation, "vit")]
)
@torch.no_grad()
def test_several_are_drawn_by_their_names(analysis, encoder):
    asked, options = analysis(), {"image_size": (64, 128), "window": 4}
    them = subject(encoder, **(options if encoder == "swin" else {}))
    found = asked.look(them, [images(3, them.encoder.image_size)])
    with figure.style():
        drawn = asked.draw({"it": found, "another": found})
    titles = [axes.get_title().split("\n")[0] for axes in drawn.axes]
    beside = [axes.get_ylabel() for axes in drawn.axes]
    assert [name for name in titles + beside if name in ("it", "another")] == ["it", "another"]


@torch.no_grad()
def test_tokens_lie_where_the_seed_says_and_are_colored_by_what_is_asked_for():
    them, batch = subject("vit"), images(3)
    one, other = (Tokens(seed=seed).look(them, [batch]) for seed in (0, 1))
    assert {row["image"] for row in one.rows} == {1, 2, 3} and len(one.rows) == 3 * 24
    again = Tokens(color="label").look(them, [batch])
    assert [row["label"] for row in again.rows[::24]] == [0, 1, 0]
    first, second, third = ([(r["x"], r["y"]) for r in f.rows] for f in (one, other, again))
    assert first == third != second
    assert Tokens(color="label").needs == Transformation(color="label").needs == ("image", "label")


def test_groups_that_lie_apart_have_a_high_silhouette():
    torch.manual_seed(0)
    groups = [0] * 20 + [1] * 20
    points = torch.randn(40, 8).numpy()
    assert abs(planes.silhouette(points, groups)) < 0.1
    points[20:] += 30
    assert planes.silhouette(points, groups) > 0.9
    assert planes.silhouette(points, [0] * 40) is None


def test_the_principal_plane_keeps_what_lies_in_a_plane():
    torch.manual_seed(0)
    flat = torch.randn(30, 2) @ torch.linalg.qr(torch.randn(16, 2)).Q.T
    plane = torch.from_numpy(planes.components(flat.numpy())).float()
    apart, known = torch.cdist(plane, plane), torch.cdist(flat, flat)
    torch.testing.assert_close(apart, known, rtol=1e-4, atol=1e-2)
    assert planes.components(torch.randn(5, 1).numpy())[:, 1].tolist() == [0] * 5


def test_variance_lies_between_images_or_within_them():
    torch.manual_seed(0)
    alike = torch.randn(4, 1, 8).expand(4, 10, 8)
    assert planes.between(alike) == pytest.approx(1)
    own = torch.randn(1, 10, 8).expand(4, 10, 8)
    assert planes.between(own) == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_a_transformation_shows_the_tokens_of_the_attention_it_is_of():
    """Of one image: the principal plane of what is given to attention and of what it gives."""
    them, batch = subject("swin", image_size=(64, 128), window=4), images(2, (64, 128))
    of = of_block(them.encoder, batch["image"], 3)
    both = torch.cat([of.in_order(of.before)[0], of.in_order(of.after)[0]])
    rows = Transformation(block=3).look(them, [batch]).rows
    shown = [(row["x"], row["y"]) for row in rows if row["panel"] == "one image"]
    np.testing.assert_allclose(shown, planes.components(both.numpy()), atol=1e-3)
    assert {row["image"] for row in rows if row["panel"] == "two images"} == {1, 2}


@torch.no_grad()
def test_too_few_tokens_for_a_perplexity_and_no_scikit_learn_are_told(monkeypatch):
    with pytest.raises(ConfigurationError, match="there are 24: look at more --images"):
        Tokens(perplexity=24.0).look(subject("vit"), [images(1)])
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'sgmim\[analysis\]'"):
        Transformation().look(subject("vit"), [images(1)])
