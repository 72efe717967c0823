from itertools import pairwise

import torch
from torch.testing import assert_close

from sgmim.components import painted


def test_cells_alike_have_one_color_in_all_images():
    torch.manual_seed(0)
    kinds = torch.randn(3, 8)
    which = torch.randint(3, (2, 4, 6))
    colors = painted(kinds[which].movedim(-1, 1), (16, 24))
    assert colors.shape == (2, 3, 16, 24) and colors.amin() == 0 and colors.amax() == 1
    large = which.repeat_interleave(4, 1).repeat_interleave(4, 2)
    found = [colors.movedim(1, -1)[large == kind] for kind in range(3)]
    for each in found:
        assert_close(each, each[:1].expand_as(each), rtol=0, atol=1e-4)
    assert all((one[0] - other[0]).abs().max() > 0.1 for one, other in pairwise(found))


def test_the_colors_are_the_same_for_features_turned_over():
    features = torch.randn(2, 5, 3, 4)
    signs = torch.tensor([1.0, -1, 1, -1, -1])[:, None, None]
    one, other = painted(features, (3, 4)), painted(features * signs, (3, 4))
    for channel in range(3):
        turned = 1 - other[:, channel]
        same = torch.allclose(one[:, channel], other[:, channel], atol=1e-4)
        assert same or torch.allclose(one[:, channel], turned, atol=1e-4)


def test_features_of_fewer_than_three_channels_have_colors_too():
    assert painted(torch.randn(1, 2, 3, 3), (6, 6)).shape == (1, 3, 6, 6)
