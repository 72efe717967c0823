"""Features in colors: one basis for all images, and shares that add up."""

import pytest
import torch

from conftest import tiny
from sgmim.analysis import figure
from sgmim.analysis.base import Subject
from sgmim.analysis.components import Components, explained


def test_shares_are_of_all_variance():
    features = torch.zeros(2, 5, 4, 4)
    features[:, 0, :, ::2], features[:, 1, ::2] = 2, 1  # variances 1 and 1 / 4
    assert explained(features) == pytest.approx([0.8, 0.2, 0], abs=1e-6)


@pytest.mark.parametrize("encoder", ["vit", "swin"])
def test_colors_are_joint_to_all_images_and_are_drawn(encoder):
    torch.manual_seed(0)
    seen = Subject("one", tiny(encoder, (64, 96)).eval(), "half")
    image = torch.randn(1, 3, 64, 96)
    batches = [{"image": image}, {"image": torch.randn(1, 3, 64, 96)}, {"image": image}]
    with torch.no_grad():
        found = Components(layers=(1, 2)).look(seen, batches)
    assert found.pictures["image 0"].shape == (3, 64, 96)
    layer = found.rows[0]["layer"]
    torch.testing.assert_close(found.pictures[f"{layer} 0"], found.pictures[f"{layer} 2"])
    assert not found.pictures[f"{layer} 0"].allclose(found.pictures[f"{layer} 1"], atol=0.05)
    with figure.style():
        sheet = Components().draw({"one": found, "two": found})
    assert len(sheet.axes) == 3 * 5
