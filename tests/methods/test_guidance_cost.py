"""The guidance costs little, as only what counts is computed; and the models have their size."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sgmim.encoders import make_encoder
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.simmim import SimMIM

FULL_SIZE = {
    "swin_base_patch4_window7_224": {"image_size": 192, "window": 6},
    "swinv2_base_window12_192": {"image_size": 192},
    "simmim_vit_base_patch16": {"image_size": 224},
}


def full_size(method, name, **options):
    """A model of the papers, without weights."""
    with torch.device("meta"):
        return method(make_encoder(name, **FULL_SIZE[name]), **options)


def flops(method):
    """Of one forward and backward pass on one image."""
    height, width = method.encoder.image_size
    batch = {
        "image": torch.empty(1, 3, height, width, device="meta"),
        "depth": torch.empty(1, 1, height, width, device="meta"),
        "key": torch.empty(1, dtype=torch.int64, device="meta"),
    }
    with FlopCounterMode(display=False) as counter:
        sum(method(batch).values()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", FULL_SIZE)
def test_guidance_adds_at_most_four_percent_to_a_step(name):
    ratio = flops(full_size(SGMIM, name)) / flops(full_size(SimMIM, name))
    print(f"{name}: {ratio:.4f}")
    assert 1.0 < ratio <= 1.04


@pytest.mark.parametrize(
    "method, name, millions",
    [
        (SimMIM, "swin_base_patch4_window7_224", 89.874),
        (SimMIM, "simmim_vit_base_patch16", 86.257),
        (SGMIM.paper_code, "swin_base_patch4_window7_224", 106.281),
    ],
)
def test_the_models_of_the_papers_have_their_number_of_parameters(method, name, millions):
    count = sum(p.numel() for p in full_size(method, name).parameters())
    assert round(count / 1e6, 3) == millions
