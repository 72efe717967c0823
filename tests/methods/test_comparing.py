"""What the methods that compare crops promise beyond the contract of all."""

import pytest
import torch

from conftest import batch_for
from roster import made
from sgmim import memory


@pytest.fixture(params=["mocov3", "dino"])
def method(request):
    torch.manual_seed(0)
    return made(request.param, "vit")


def test_the_pictures_show_every_view_and_what_is_told_apart(method):
    method.eval()
    batch = batch_for(method)
    pictures = method.pictures(batch)
    assert {"image", "image, view", "features"} <= pictures.keys()
    features = pictures["features"]
    assert features.shape == batch["image"].shape and features.amin() >= 0 and features.amax() <= 1
    assert len(features.flatten(2).unique(dim=2)[0, 0]) > 10


def test_its_memory_is_told_before_it_is_taken(method):
    batch = batch_for(method, size=3)
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert memory.activations(method, batch) > 0
    assert all(torch.equal(state[name], tensor) for name, tensor in method.state_dict().items())
