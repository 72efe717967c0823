import math

import pytest
import torch
from torch.testing import assert_close

from conftest import tiny
from sgmim.errors import ConfigurationError
from sgmim.optim import spared
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.idisc import IDiscHead, Partition, won
from toys import trained

SMALL = {"width": 16, "representations": 4, "representation_width": 8, "mixing_layers": 1}
SIZE = (80, 112)


def made(encoder, **options):
    torch.manual_seed(0)
    return IDiscHead(encoder, **(SMALL | {"points": 2} | options))


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return tiny("vit", SIZE)


def test_attention_is_shared_out_among_the_queries_and_then_sums_to_one_over_the_cells():
    torch.manual_seed(0)
    scores = torch.randn(2, 5, 12) * 3
    shares = won(scores)
    assert_close(shares.sum(dim=2), torch.ones(2, 5))
    expected = scores.exp() / scores.exp().sum(dim=1, keepdim=True) + 1e-6
    for query in range(5):
        row = expected[:, query]
        assert_close(shares[:, query], row / row.sum(dim=1, keepdim=True))


def test_a_query_that_wins_no_cell_sees_the_mean_of_all():
    scores = torch.zeros(1, 2, 6)
    scores[:, 1] = -100
    assert_close(won(scores), torch.full((1, 2, 6), 1 / 6))


def test_what_sums_an_image_up_does_not_depend_on_the_order_of_its_cells():
    torch.manual_seed(0)
    partition, cells = Partition(4, 8, 16, 2), torch.randn(2, 30, 16)
    assert_close(partition(cells), partition(cells[:, torch.randperm(30)]), rtol=1e-4, atol=1e-5)


def test_iterations_share_their_weights():
    assert len(Partition(4, 8, 16, 5).state_dict()) == len(Partition(4, 8, 16, 1).state_dict())


@pytest.mark.parametrize("name, mixing", [("vit", "fpn"), ("swin", "msdeform")])
def test_depth_is_positive_and_every_parameter_learns(name, mixing):
    torch.manual_seed(0)
    encoder = tiny(name, SIZE if "vit" in name else (64, 96))
    task = DepthEstimation(
        encoder, lambda encoder, channels: made(encoder, mixing=mixing), loss="silog_adabins"
    )
    image = torch.randn(2, 3, *encoder.image_size)
    depth = task.predict(image)
    assert depth.shape == (2, 1, *encoder.image_size)
    assert depth.min() > 0 and depth.isfinite().all() and depth.std() > 0
    truth = torch.rand(2, 1, *encoder.image_size) * 9
    task({"image": image, "depth": truth})["silog_adabins"].backward()
    left = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert not left


def test_it_learns_in_a_few_steps():
    torch.manual_seed(0)

    def head(encoder, channels):
        return made(encoder)

    task = DepthEstimation(tiny("vit", (32, 48)), head, loss="silog_adabins")
    image = torch.randn(4, 3, 32, 48)
    depth = (3 + image.mean(dim=(1, 2, 3), keepdim=True) * 50).expand(4, 1, 32, 48)
    losses = trained(task, {"image": image, "depth": depth}, steps=12, lr=3e-3)
    assert losses[-1] < losses[0] / 2


def test_depth_is_the_mean_of_what_three_maps_say(vit):
    head = made(vit).eval()
    for reading, depth in zip(head.readings, (1.0, 2.0, 6.0), strict=True):
        torch.nn.init.zeros_(reading.log[-1].weight)
        torch.nn.init.constant_(reading.log[-1].bias, math.log(depth))
    log = head(head.look(vit, torch.randn(1, 3, *SIZE)), SIZE)
    assert_close(log.exp(), torch.full((1, 1, *SIZE), 3.0))


def test_weight_decay_spares_what_sums_an_image_up(vit):
    names = spared(DepthEstimation(vit, lambda encoder, channels: made(encoder)))
    assert {f"head.partitions.{number}.representations" for number in range(3)} <= names


def test_it_reads_nothing_but_depth(vit):
    with pytest.raises(ConfigurationError, match=r"idisc reads depth, one number .* not 3"):
        IDiscHead(vit, 3)
