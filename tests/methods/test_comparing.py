"""What the methods that compare crops promise on every encoder they take."""

import pytest
import torch

from conftest import TINY, batch_for, tiny
from sgmim import memory
from sgmim.methods.dino import DINO
from sgmim.methods.mocov3 import MoCoV3
from toys import trained

METHODS = {
    "mocov3": (MoCoV3, {"hidden": 32, "dim": 16}),
    "dino": (DINO, {"prototypes": 32, "hidden": 32, "bottleneck": 16, "center_momentum": 1.0}),
}
ANY_SIZE = ("vit",)


@pytest.fixture(params=METHODS)
def make(request):
    def made(kind, **options):
        torch.manual_seed(0)
        method, own = METHODS[request.param]
        if method is DINO:
            own = own | {"parts": kind in ANY_SIZE, "freeze_last": 0.0}
        return method(tiny(kind, **options), **own)

    return made


@pytest.mark.parametrize("kind", TINY)
def test_it_learns_and_leaves_no_parameter_without_gradient(make, kind):
    method = make(kind)
    losses = trained(method, batch_for(method, size=6), steps=6, lr=1e-3)
    assert losses[-1] < losses[1]  # the first step goes too far
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_it_needs_no_more_than_it_says(make):
    method = make("vit")
    batch = batch_for(method)
    method({name: batch[name] for name in method.needs})


@pytest.mark.parametrize("channels", [1, 4])
def test_it_takes_images_of_any_channels(make, channels):
    method = make("vit", channels=channels)
    assert sum(method(batch_for(method)).values()).isfinite()


def test_the_pictures_show_every_view_and_what_is_told_apart(make):
    method = make("vit").eval()
    batch = batch_for(method)
    pictures = method.pictures(batch)
    assert {"image", "image, view", "features"} <= pictures.keys()
    features = pictures["features"]
    assert features.shape == batch["image"].shape and features.amin() >= 0 and features.amax() <= 1
    assert len(features.flatten(2).unique(dim=2)[0, 0]) > 10


def test_its_memory_is_told_before_it_is_taken(make):
    method = make("vit")
    batch = batch_for(method, size=3)
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert memory.activations(method, batch) > 0
    assert all(torch.equal(state[name], tensor) for name, tensor in method.state_dict().items())


@pytest.mark.slow
def test_it_compiles_whole_and_once(make):
    method = make("vit")
    batch = batch_for(method, size=4)
    before = sum(method(batch).values())
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(method, fullgraph=True, backend="aot_eager")
        for _ in range(2):
            assert sum(compiled(batch).values()).isfinite()
    torch.testing.assert_close(sum(compiled(batch).values()), before, rtol=1e-4, atol=1e-4)
