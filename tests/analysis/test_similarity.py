"""CKA: what it must not see, what it must, and that batches add up."""

import pytest
import torch

from conftest import tiny
from sgmim.analysis import figure
from sgmim.analysis.base import Subject
from sgmim.analysis.similarity import Similarity, centered, cka
from sgmim.errors import ConfigurationError, DataError


def drawn(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def compared(one, other):
    return cka(centered(one), centered(other))


def test_features_are_like_themselves_rotated_scaled_and_moved():
    one = drawn(16, 6, 0)
    rotation = torch.linalg.qr(drawn(6, 6, 1)).Q
    assert compared(one, one) == pytest.approx(1)
    assert compared(one, 3 * one @ rotation + 50) == pytest.approx(1, abs=1e-4)


def test_a_stretched_space_is_another_one():
    one = drawn(64, 6, 0)
    assert compared(one, one * torch.tensor([10.0, 1, 1, 1, 1, 1])) < 0.9


def test_features_that_have_nothing_to_do_with_each_other_are_not_alike_on_average():
    """The biased estimate of so few images would be above 0.9."""
    found = [compared(drawn(8, 64, 2 * i), drawn(8, 64, 2 * i + 1)) for i in range(200)]
    assert abs(sum(found) / len(found)) < 0.05


def test_the_estimate_is_the_formula_of_song_et_al():
    one, other = drawn(9, 5, 0).double(), drawn(9, 7, 1).double()
    k, l = ((x @ x.T).fill_diagonal_(0) for x in (one, other))  # noqa: E741
    n, ones = 9, torch.ones(9, dtype=torch.float64)
    theirs = (k @ l).trace() + ones @ k @ ones * (ones @ l @ ones) / ((n - 1) * (n - 2))
    theirs = (theirs - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))
    ours = centered(one) @ centered(other) / n
    torch.testing.assert_close(ours, theirs)


def test_batches_are_averaged_image_by_image():
    one, other = drawn(20, 5, 0), drawn(20, 5, 1)
    parts = [slice(0, 12), slice(12, 20)]
    whole = [torch.cat([centered(x[part]) for part in parts]) for x in (one, other)]
    estimates = [centered(one[part]) @ centered(other[part]) for part in parts]
    torch.testing.assert_close(whole[0] @ whole[1], sum(estimates))


def look(encoder, images, size=4, **options):
    torch.manual_seed(0)
    seen = Subject(encoder, tiny(encoder, (64, 64)).eval(), "imagenet")
    batches = [{"image": part} for part in images.split(size)]
    with torch.no_grad():
        return Similarity(**options).look(seen, batches)


@pytest.mark.parametrize("pool", ["tokens", "mean"])
def test_models_of_other_grids_are_compared_and_drawn(pool):
    images = torch.randn(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = {name: look(name, images, pool=pool) for name in ("vit", "swin")}
    assert len(found["vit"].rows) == 4 and len(found["swin"].rows) == 16
    between = Similarity().compare(found)
    assert len(between) == 8 and all(abs(row["cka"]) <= 1 for row in between)
    with figure.style():
        sheet = Similarity().draw(found)
    titles = [axes.get_title() for axes in sheet.axes]
    assert titles[:3] == ["vit", "swin", "vit and swin"]


def test_too_few_images_and_other_images_are_refused():
    images = torch.randn(8, 3, 64, 64)
    with pytest.raises(DataError, match="4 images or more"):
        look("vit", images[:3])
    found = {"one": look("vit", images), "other": look("vit", images[:4])}
    with pytest.raises(ConfigurationError, match="same images"):
        Similarity().compare(found)
