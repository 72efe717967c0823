"""What every head owes to every encoder."""

import inspect
from multiprocessing import get_context

import pytest
import torch

from conftest import TINY, tiny
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.memory import activations
from sgmim.options import contents
from sgmim.tasks.dense import DensePrediction
from sgmim.tasks.depth import DepthEstimation

HEADS = contents("tasks.heads")
SIZES = {"vit": (80, 112), "simmim_vit": (80, 112), "swin": (64, 96), "swinv2": (64, 96)}
SIZES["patches of 8"] = (40, 56)  # like all of them with an odd grid somewhere, longer than wide


@pytest.fixture(params=HEADS, scope="module")
def kind(request):
    return HEADS[request.param]


@pytest.fixture(params=SIZES, scope="module")
def encoder(request):
    torch.manual_seed(0)
    if request.param in TINY:
        return tiny(request.param, SIZES[request.param])
    name, shape = TINY["vit"]
    return make_encoder(name, image_size=SIZES[request.param], options=shape | {"patch_size": 8})


def made(kind, encoder, channels=1):
    """A head with few channels inside, where it has an option for that."""
    torch.manual_seed(0)
    narrow = {"width": 16} if "width" in inspect.signature(kind).parameters else {}
    return kind(encoder, channels, **narrow)


def image_for(encoder, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *encoder.image_size, generator=generator)


def test_it_starts_with_small_numbers_for_every_pixel_and_every_parameter_learns(kind, encoder):
    task = DensePrediction(encoder, made(kind, encoder))
    outputs = task.head.trained(*task.look(image_for(encoder)))
    assert outputs[0][0] == 1.0
    for _, output in outputs:
        assert output.shape == (2, 1, *encoder.image_size)
        assert output.abs().max() < 5  # exp of it is still a depth, and its sigmoid has a slope
    sum(weight * (output - 3).square().mean() for weight, output in outputs).backward()
    left = {n for n, p in task.named_parameters() if p.requires_grad and p.grad is None}
    assert not left
    assert all(p.grad.isfinite().all() for p in task.parameters() if p.requires_grad)
    for parameter in encoder.parameters():
        parameter.grad, parameter.requires_grad = None, True


def test_it_tells_classes_or_says_that_it_cannot(kind, encoder):
    try:
        head = made(kind, encoder, 5)
    except ConfigurationError as error:
        assert "depth" in str(error)
        return
    features = head.look(encoder, image_for(encoder))
    for _, output in head.trained(features, encoder.image_size):
        assert output.shape == (2, 5, *encoder.image_size)


def test_what_it_predicts_of_an_image_does_not_depend_on_the_others(kind, encoder):
    head = made(kind, encoder).eval()
    features = head.look(encoder.eval(), image_for(encoder, 3))
    size = encoder.image_size
    together = head(features, size)
    for number in range(3):
        alone = head([map[number : number + 1] for map in features], size)
        torch.testing.assert_close(alone, together[number : number + 1], rtol=1e-4, atol=1e-5)


def test_in_bf16_it_predicts_nearly_the_same(kind):
    encoder = tiny("vit").eval()
    head = made(kind, encoder).eval()
    features = head.look(encoder, image_for(encoder))
    exact = head(features, encoder.image_size)
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(features, encoder.image_size)
    assert (rough - exact).abs().mean() < 0.1 * exact.abs().mean() + 0.01


def test_the_memory_of_a_step_is_known_before_it(kind):
    encoder = tiny("swin")
    task = DepthEstimation(encoder, lambda encoder, channels: made(kind, encoder, channels))
    batch = {"image": image_for(encoder, 1), "depth": torch.rand(1, 1, *encoder.image_size)}
    assert activations(task, batch) > 0


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["vit", "swin"])
@pytest.mark.parametrize("name", HEADS)
def test_it_is_one_graph_to_a_compiler(name, encoder):
    with get_context("spawn").Pool(1) as pool:  # a process in which shapes are not checked
        pool.apply(compile_alike, (name, encoder))


def compile_alike(name, encoder):
    encoder = tiny(encoder)
    size, head = encoder.image_size, made(HEADS[name], encoder).eval()
    compiled = torch.compile(head.trained, fullgraph=True, backend="aot_eager")
    features = head.look(encoder, image_for(encoder))
    plain = head.trained(features, size)
    for (_, ours), (_, theirs) in zip(compiled(features, size), plain, strict=True):
        torch.testing.assert_close(ours, theirs)
