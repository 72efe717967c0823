from itertools import product

import pytest
import torch
from torch.nn import functional as F

from sgmim.knowledge.edges import edges


def test_edges_lie_where_the_shade_changes():
    image = torch.zeros(1, 3, 10, 12)
    image[..., 6:] = 1.0
    ours = edges(image)
    assert ours.shape == (1, 1, 10, 12)
    assert ((ours > 0) == torch.tensor([x in (5, 6) for x in range(12)])).all()
    torch.testing.assert_close(ours.max(), torch.tensor(4 / 20**0.5))


def test_the_strongest_edge_of_all_is_one():
    """The length of a gradient is convex in the pixels, so its largest value is at extreme ones."""
    patches = torch.tensor(list(product([0.0, 1.0], repeat=9))).view(-1, 1, 3, 3)
    strength = edges(patches.expand(-1, 3, 3, 3))[:, 0, 1, 1]
    torch.testing.assert_close(strength.max(), torch.tensor(1.0))


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_edges_turn_with_the_image(turn):
    image = torch.rand(2, 3, 9, 11)
    torch.testing.assert_close(edges(image.rot90(turn, (2, 3))), edges(image).rot90(turn, (2, 3)))


def test_a_border_is_no_edge():
    assert edges(torch.full((1, 3, 5, 5), 0.7)).abs().max() < 1e-6


def test_it_is_sobels_filter():
    image = torch.rand(1, 3, 8, 8)
    grey = F.pad(
        (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1), (1,) * 4, "replicate"
    )[0]
    for y, x in ((0, 0), (3, 4), (7, 2)):
        (a, b, c), (d, _, f), (g, h, i) = grey[y : y + 3, x : x + 3].tolist()
        across, down = c + 2 * f + i - a - 2 * d - g, g + 2 * h + i - a - 2 * b - c
        theirs = ((across**2 + down**2) / 20) ** 0.5
        assert edges(image)[0, 0, y, x].item() == pytest.approx(theirs, abs=1e-6)
