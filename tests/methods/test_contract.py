"""What every method promises on every encoder it takes."""

import pytest
import torch

from conftest import TINY, batch_for, tiny
from sgmim.masking import refine
from sgmim.methods.croco import CroCo
from sgmim.methods.kamim import KAMIM
from sgmim.methods.mae import MAE
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.weighting import Weights
from toys import trained

METHODS = {
    "simmim": (SimMIM, {}),
    "simmim, weighted": (SimMIM, {"weights": Weights(of="depth", normalize="mean")}),
    "kamim": (KAMIM, {}),
    "sgmim": (SGMIM, {}),
    "sgmim as in the authors' code": (SGMIM.paper_code, {}),
    "random": (SGMIM, {"guidance_mask": "random"}),
    "same": (SGMIM, {"guidance_mask": "same"}),
    "none": (SGMIM, {"guidance_mask": "none"}),
    "transformer": (SGMIM, {"extractor": "transformer"}),
    "siamese": (SGMIM, {"extractor": "siamese"}),
    "conv": (SGMIM, {"extractor": "conv"}),
    "conv, kept": (SGMIM, {"extractor": "conv", "hidden_context": "keep"}),
    "transformer, kept": (SGMIM, {"extractor": "transformer", "hidden_context": "keep"}),
    "siamese, kept": (SGMIM, {"extractor": "siamese", "hidden_context": "keep"}),
    "learned": (SGMIM, {"positions": "learned", "fusion_blocks": 2}),
    "normals": (SGMIM, {"knowledge": "normals", "channels": 3}),
}

LIGHT = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 4}
LEAVE_OUT = {  # for encoders that can see some patches alone
    "mae": (MAE, LIGHT),
    "mae, learned positions": (MAE, LIGHT | {"positions": "learned", "normalize": False}),
    "croco": (CroCo, LIGHT),
    "croco, rotary": (CroCo, LIGHT | {"positions": "rotary", "normalize": False}),
}
PAIRS = [(name, encoder) for name in METHODS for encoder in TINY if encoder != "rotary_vit"]
PAIRS += [(name, encoder) for name in LEAVE_OUT for encoder in TINY if "vit" in encoder]


@pytest.fixture(params=PAIRS, ids=", ".join)
def method(request):
    name, encoder = request.param
    make, options = (METHODS | LEAVE_OUT)[name]
    torch.manual_seed(0)
    return make(tiny(encoder), **options)


def test_it_learns_and_leaves_no_parameter_without_gradient(method):
    batch = batch_for(method)
    losses = trained(method, batch, steps=6, lr=2e-3)
    assert losses[-1] < losses[1]  # KAMIM's token begins at 0, and its first step goes too far
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_it_needs_no_more_than_it_says(method):
    batch = batch_for(method)
    method({name: batch[name] for name in (*method.needs, "key")})


def test_what_it_does_to_an_image_does_not_depend_on_the_rest_of_the_batch(method):
    batch = batch_for(method, size=3)
    both = method({name: tensor[:2] for name, tensor in batch.items()})
    alone = [method({name: t[i : i + 1] for name, t in batch.items()}) for i in range(2)]
    for name, loss in both.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        torch.testing.assert_close(loss, mean, rtol=1e-5, atol=1e-6)


def test_the_pictures_show_every_image_whole(method):
    batch = batch_for(method)
    pictures = method.eval().pictures(batch)
    assert {"image", "image, hidden", "image, painted"} <= pictures.keys()
    for picture in pictures.values():
        assert picture.shape[0] == 2 and picture.shape[2:] == batch["image"].shape[2:]
    assert pictures["image, painted"].isfinite().all()


def test_nothing_it_paints_depends_on_image_patches_that_are_hidden(method):
    batch = batch_for(method)
    hidden = refine(method.mask(batch["key"]), method.encoder.patch)[:, None]
    other = batch | {"image": batch["image"].where(~hidden, torch.randn_like(batch["image"]))}
    one, two = method.eval().pictures(batch), method.pictures(other)
    painted = "image, painted"
    torch.testing.assert_close(one[painted], two[painted], rtol=0, atol=0)
    answers = [name for name in one if name.endswith("predicted")]
    for name in answers:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("channels", [1, 4])
def test_it_takes_images_of_any_channels(channels):
    method = SGMIM(tiny("swin", channels=channels))
    assert sum(method(batch_for(method)).values()).isfinite()
