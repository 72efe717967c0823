import pytest
import torch
from torch.testing import assert_close

from conftest import tiny
from sgmim.errors import ConfigurationError
from sgmim.optim import spared
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.bins import BinsHead, centers
from toys import trained

SMALL = {"width": 16, "bins": 5, "layers": 3, "heads": 4, "mixing_layers": 1, "points": 2}
SIZE = (80, 112)


def made(encoder, **options):
    torch.manual_seed(0)
    return BinsHead(encoder, **(SMALL | options))


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return tiny("vit", SIZE)


@pytest.fixture(scope="module")
def features(vit):
    torch.manual_seed(1)
    return made(vit).look(vit, torch.randn(2, 3, *SIZE))


def test_bins_lie_side_by_side_from_the_smallest_depth_to_the_largest():
    numbers = 3 * torch.randn(3, 64, 1, generator=torch.Generator().manual_seed(0))
    widths, middles = numbers.squeeze(-1).softmax(-1), centers(numbers)
    edges = torch.cat([torch.zeros(3, 1), widths.cumsum(-1)], dim=1)
    assert_close(middles, (edges[:, 1:] + edges[:, :-1]) / 2)
    assert_close(edges[:, -1], torch.ones(3))
    assert (middles.diff(dim=1) >= 0).all() and middles.min() > 0 and middles.max() < 1
    assert_close(centers(torch.zeros(1, 4, 1)), torch.tensor([[0.125, 0.375, 0.625, 0.875]]))


@pytest.mark.parametrize("name, mixing", [("vit", "fpn"), ("swin", "msdeform")])
def test_depth_is_within_its_range_and_every_parameter_learns(name, mixing):
    torch.manual_seed(0)
    encoder = tiny(name, SIZE if "vit" in name else (64, 96))
    task = DepthEstimation(
        encoder,
        lambda encoder, channels: made(encoder, mixing=mixing),
        loss="silog_adabins",
        min_depth=2.0,
        max_depth=7.0,
    )
    image = torch.randn(2, 3, *encoder.image_size)
    depth = task.predict(image)
    assert depth.min() > 2 and depth.max() < 7 and depth.std() > 0
    truth = torch.rand(2, 1, *encoder.image_size) * 9
    task({"image": image, "depth": truth})["silog_adabins"].backward()
    left = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert not left


def test_it_learns_in_a_few_steps():
    torch.manual_seed(0)

    def head(encoder, channels):
        return made(encoder, dropout=0.0)

    task = DepthEstimation(tiny("vit", (32, 48)), head, loss="silog_adabins")
    image = torch.randn(4, 3, 32, 48)
    depth = (3 + image.mean(dim=(1, 2, 3), keepdim=True) * 50).expand(4, 1, 32, 48)
    losses = trained(task, {"image": image, "depth": depth}, steps=12, lr=3e-3)
    assert losses[-1] < losses[0] / 2


def test_every_cell_is_a_mixture_of_the_bins(vit):
    head = made(vit)
    queries, finest = torch.randn(2, 5, 16), torch.randn(2, 16, 6, 7)
    middles = centers(head.bin(head.norm(queries)))
    share = head.share(queries, finest).flatten(1)
    assert (share >= middles[:, :1]).all() and (share <= middles[:, -1:]).all()
    torch.nn.init.zeros_(head.sought[-1].weight)
    torch.nn.init.zeros_(head.sought[-1].bias)  # now every bin is as likely everywhere
    assert_close(head.share(queries, finest).flatten(1), middles.mean(1)[:, None].expand(2, 42))


def test_what_is_known_after_a_third_and_two_thirds_of_the_layers_is_trained_too(vit, features):
    for layers, expected in ((9, [1, 1 / 2, 1 / 4]), (3, [1, 1 / 2, 1 / 4]), (1, [1])):
        outputs = made(vit, layers=layers).eval().trained(features, SIZE)
        assert [weight for weight, _ in outputs] == expected
        assert_close(outputs[0][1], made(vit, layers=layers).eval()(features, SIZE))
    deep, shallow = made(vit, layers=9), made(vit, layers=3)
    shallow.load_state_dict(deep.state_dict(), strict=False)
    assert_close(deep.eval().trained(features, SIZE)[-1][1], shallow.eval()(features, SIZE))


def test_layers_look_at_the_coarsest_map_first_and_then_at_finer_ones(vit, features):
    head, seen = made(vit, layers=4).eval(), []
    for layer in head.layers:
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[2].shape[1]))
    head(features, SIZE)
    assert seen == [3 * 4, 5 * 7, 10 * 14, 3 * 4]  # strides 32, 16 and 8 of 80 x 112


def test_bins_whose_order_is_changed_swap_their_depths_and_keep_their_places(vit, features):
    head = made(vit).eval()
    torch.nn.init.zeros_(head.bin.weight)  # bins of equal width
    before = head(features, SIZE)
    for parameter in (head.queries, head.places):
        parameter.data = parameter.data.flip(0)
    assert_close(head(features, SIZE), 1 - before, rtol=1e-4, atol=1e-5)


def test_weight_decay_spares_its_queries_and_positions(vit):
    task = DepthEstimation(vit, lambda encoder, channels: made(encoder))
    names = {"head.queries", "head.places", "head.level", "head.pixels.attend.level"}
    assert names <= spared(task)


def test_it_reads_nothing_but_depth(vit):
    with pytest.raises(ConfigurationError, match=r"bins reads depth, one number .* not 150"):
        BinsHead(vit, 150)
