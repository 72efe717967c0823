"""The head against the authors' numbers, alone and on top of their encoder."""

from functools import partial

import pytest
import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from conftest import close, close_gradient, golden, official
from sgmim.encoders import wrap
from sgmim.encoders.base import Encoder
from sgmim.encoders.weights import convert
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.deconv import DeconvHead

OURS = {  # what the authors call the parts of the head
    "decoder.deconv_layers.": "deconvolve.",
    "decoder.conv_layers.": "widen.",
    "last_layer_depth.": "value.",
}


class Looks(Encoder):
    """An encoder of one convolution, of any shape that is asked for."""

    def __init__(self, dim=12, stride=16, patch_dim=12):
        super().__init__()
        self.dim, self.stride, self.patch_dim = dim, stride, patch_dim
        self.backbone = nn.Conv2d(3, dim, stride, stride)

    def forward(self, image, hidden=None, token=None):
        return self.backbone(image)


def renamed(name):
    for theirs, ours in OURS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return None


def authors_head(encoder):
    head = DeconvHead(encoder, filters=16)
    weights = {renamed(name): tensor for name, tensor in official("glp_swinv2").items()}
    head.load_state_dict({name: tensor for name, tensor in weights.items() if name})
    return head


def test_it_has_as_many_parameters_as_the_authors_has_on_swin_base():
    head = DeconvHead(Looks(dim=1024, stride=32, patch_dim=128))
    assert sum(parameter.numel() for parameter in head.parameters()) == 325_441


@pytest.mark.parametrize("stride, count", [(4, 0), (8, 1), (14, 2), (16, 2), (32, 3)])
def test_a_stride_takes_the_deconvolutions_that_bring_it_to_4(stride, count):
    layers = DeconvHead(Looks(stride=stride)).deconvolve
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in layers) == count


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride, size", [(4, (12, 20)), (16, (32, 80)), (14, (28, 42))])
def test_it_answers_at_the_size_of_the_image(stride, size, kernel):
    encoder = Looks(stride=stride)
    head = DeconvHead(encoder, filters=4, width=6, kernel=kernel)
    assert head([encoder(torch.randn(2, 3, *size))], size).shape == (2, 1, *size)


def test_its_width_is_that_of_a_swin_s_patches_and_128_on_a_vit():
    swin, vit = Looks(dim=64, stride=32, patch_dim=8), Looks(dim=768, patch_dim=768)
    assert [DeconvHead(encoder).widen[0].out_channels for encoder in (swin, vit)] == [8, 128]


def test_it_starts_near_zero_and_every_parameter_learns():
    encoder = Looks()
    head = DeconvHead(encoder)
    value = head([encoder(torch.randn(2, 3, 32, 48))], (32, 48))
    assert value.abs().max() < 0.1
    value.sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_it_decodes_the_authors_features_as_they_do():
    meta, io = golden("glp_swinv2")
    head = authors_head(Looks(dim=64, stride=32, patch_dim=8)).eval()
    size = io["image"].shape[-2:]
    close(head.decode(io["features"], size), io["decoder_output"])
    depth = meta["config"]["max_depth"] * head([io["features"]], size).sigmoid()
    close(depth, io["depth_eval"])


def authors_encoder(config):
    """Their SwinV2: maps are padded to whole windows, and only the first stages shift them.

    make_encoder takes no windows that do not divide the grid, so timm is asked for it directly.
    """
    swin = SwinTransformerV2(
        img_size=config["input_size"],
        embed_dim=config["embed_dim"],
        depths=config["depths"],
        num_heads=config["num_heads"],
        window_size=config["window_size"],
        pretrained_window_sizes=config["pretrain_window_size"],
        norm_layer=partial(nn.LayerNorm, eps=config["layer_norm_eps"]),
        always_partition=True,
        drop_path_rate=0.0,
        num_classes=0,
    )
    for stage, shifts in zip(swin.layers, config["use_shift"], strict=True):
        for block in stage.blocks if not shifts else ():
            block.shift_size, block.attn_mask = (0, 0), None
    converted = convert(official("glp_swinv2"))
    assert converted.source == "MIM-Depth-Estimation"
    swin.load_state_dict(converted.state)
    return wrap(swin, "swinv2_base_window12_192", {})


def test_the_whole_model_predicts_and_learns_what_the_authors_does():
    meta, io = golden("glp_swinv2")
    encoder = authors_encoder(meta["config"])
    task = DepthEstimation(
        encoder, partial(DeconvHead, filters=16), max_depth=meta["config"]["max_depth"]
    )
    task.head = authors_head(encoder)

    close(encoder(io["image"]), io["features"])
    close(task.eval().predict(io["image"]), io["depth_eval"])
    close(task.train().predict(io["image"]), io["depth_train"])
    [loss] = task({"image": io["image"], "depth": io["depth_gt"][:, None]}).values()
    torch.testing.assert_close(loss, io["silog_loss_train"], rtol=1e-5, atol=0)

    loss.backward()
    for name, gradient in io.items():
        if name.startswith("grad."):
            close_gradient(parameter(task, name.removeprefix("grad.")).grad, gradient)
    for name, norm in meta["grad_norm_by_parameter"].items():
        if norm > 1e-6:
            assert parameter(task, name).grad.norm().item() == pytest.approx(norm, rel=1e-4)


def parameter(task, name):
    """The parameter of a task that the authors know by this name."""
    if head := renamed(name):
        return task.head.get_parameter(head)
    [ours] = convert({name: torch.zeros(1), "last_layer_depth.": torch.zeros(1)}).state
    return task.encoder.backbone.get_parameter(ours)
