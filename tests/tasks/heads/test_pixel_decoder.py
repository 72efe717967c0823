import pytest
import torch

from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.pixel_decoder import PixelDecoder

WIDTHS, SIZES = (6, 10, 14, 18), [(11, 18), (6, 9), (3, 5), (2, 3)]  # odd grids, no squares
MIXINGS = ["fpn", "msdeform"]


def made(mixing, **options):
    torch.manual_seed(0)
    return PixelDecoder(WIDTHS, 16, mixing, layers=2, heads=4, points=2, **options)


def maps_for(count=2):
    torch.manual_seed(1)
    return [torch.randn(count, dim, *size) for dim, size in zip(WIDTHS, SIZES, strict=True)]


@pytest.mark.parametrize("mixing", MIXINGS)
def test_its_maps_have_the_sizes_of_those_it_is_given_and_every_parameter_learns(mixing):
    decoder = made(mixing)
    maps = decoder(maps_for())
    assert [map.shape for map in maps] == [(2, 16, *size) for size in SIZES]
    maps[0].square().mean().backward()  # the finest alone knows of everything
    left = [
        n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert not left


@pytest.mark.parametrize("mixing", MIXINGS)
def test_what_is_coarse_reaches_every_finer_map(mixing):
    decoder = made(mixing).eval()
    one, other = maps_for(), maps_for()
    other[-1] = other[-1] + torch.randn_like(other[-1])
    for ours, theirs in zip(decoder(one), decoder(other), strict=True):
        assert (ours != theirs).any()


def test_what_is_fine_reaches_coarser_maps_by_attention_alone():
    one, other = maps_for(), maps_for()
    other[1] = other[1] + torch.randn_like(other[1])
    for mixing, reaches in (("fpn", False), ("msdeform", True)):
        decoder = made(mixing).eval()
        pairs = list(zip(decoder(one), decoder(other), strict=True))
        assert [bool((ours != theirs).any()) for ours, theirs in pairs[2:]] == [reaches] * 2


@pytest.mark.parametrize("width, heads, least", [(18, 2, 4), (20, 8, 8), (0, 8, 8)])
def test_a_width_that_cannot_be_shared_out_is_refused(width, heads, least):
    with pytest.raises(ConfigurationError, match=f"multiple of {least}"):
        PixelDecoder(WIDTHS, width, heads=heads)
