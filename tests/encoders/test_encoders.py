"""An encoder is its timm backbone, and cannot see what is hidden."""

import pytest
import timm
import torch

from conftest import TINY, tiny
from sgmim.encoders import encoder_names, make_encoder
from sgmim.encoders.files import load_encoder, save_encoder
from sgmim.encoders.named import NAMED
from sgmim.errors import ConfigurationError
from sgmim.layers import sincos
from sgmim.masking import RandomMask, refine

SIZES = [(64, 64), (64, 96)]


@pytest.fixture(params=[(name, size) for name in TINY for size in SIZES], ids=str)
def encoder(request):
    torch.manual_seed(0)
    name, size = request.param
    return tiny(name, size).eval()


def features(encoder, image):
    """What timm's own forward pass gives, as a map."""
    found = encoder.backbone.forward_features(image)
    if found.dim() == 4:
        return found.permute(0, 3, 1, 2)
    found = found[:, encoder.backbone.num_prefix_tokens :]
    return found.transpose(1, 2).unflatten(2, encoder.grid)


def test_with_nothing_hidden_it_is_the_timm_backbone_to_the_bit(encoder):
    image = torch.randn(2, 3, *encoder.image_size)
    assert torch.equal(encoder(image), features(encoder, image))


def test_plain_timm_rebuilds_the_backbone_from_its_name_and_options(encoder):
    rebuilt = timm.create_model(encoder.name, **encoder.options)
    rebuilt.load_state_dict(encoder.backbone.state_dict())
    image = torch.randn(2, 3, *encoder.image_size)
    theirs = rebuilt.eval().forward_features(image)
    assert torch.equal(encoder.backbone.forward_features(image), theirs)


def test_it_cannot_see_what_is_hidden(encoder):
    image, noise = torch.randn(2, 2, 3, *encoder.image_size)
    hidden = RandomMask(encoder, ratio=0.5, size=16)(torch.tensor([1, 2]))
    pixels = refine(hidden, encoder.patch)[:, None]
    token = torch.zeros(encoder.patch_dim)
    one = encoder(image, hidden, token)
    assert torch.equal(one, encoder(image.where(~pixels, noise), hidden, token))
    assert not torch.equal(one, encoder(image.where(pixels, noise), hidden, token))


def test_left_out_patches_are_as_good_as_never_there(encoder):
    if not encoder.can_leave_out:
        pytest.skip("Swin's windows need the whole grid")
    image, noise = torch.randn(2, 2, 3, *encoder.image_size)
    mask = RandomMask(encoder, ratio=0.5, size=16)
    hidden = mask(torch.tensor([1, 2]))
    visible = mask.part(~hidden, mask.squares - mask.count).cells
    pixels = refine(hidden, encoder.patch)[:, None]
    one, other = (
        encoder.trunk_of(encoder.embed(x), visible) for x in (image, image.where(~pixels, noise))
    )
    assert torch.equal(one, other)
    cells = encoder.grid[0] * encoder.grid[1]
    every = torch.arange(cells).expand(2, -1)
    whole = encoder.trunk_of(encoder.embed(image), every)
    torch.testing.assert_close(whole, encoder(image).flatten(2).transpose(1, 2))


def test_it_sums_an_image_up_as_timm_does(encoder):
    image = torch.randn(2, 3, *encoder.image_size)
    theirs = encoder.backbone.forward_features(image)
    if encoder.has_class_token:
        theirs = theirs[:, 0]
    else:
        theirs = theirs.mean(dim=(1, 2) if theirs.dim() == 4 else 1)
    torch.testing.assert_close(encoder.summary(image), theirs)


@pytest.mark.parametrize("name", [name for name in NAMED if "tiny" in name or "small" in name])
def test_fixed_positions_say_where_a_patch_is_and_are_not_learnt(name):
    encoder = make_encoder(name, image_size=(32, 48), options={"depth": 1}).eval()
    before = encoder.summary(torch.ones(1, 3, 32, 48))
    encoder.fix_positions()
    table = encoder.backbone.pos_embed
    assert before.isfinite().all() and (table is None) == name.startswith("simmim")
    if table is not None:
        prefix = encoder.backbone.num_prefix_tokens
        torch.testing.assert_close(table[0, prefix:], sincos((2, 3), encoder.dim))
        assert not table[:, :prefix].any() and not table.requires_grad


def test_a_pyramid_has_the_widths_and_strides_it_says(encoder):
    maps = encoder.pyramid(torch.randn(1, 3, *encoder.image_size))
    height, width = encoder.image_size
    shapes = [tuple(found.shape) for found in maps]
    assert shapes == [
        (1, dim, height // stride, width // stride)
        for dim, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]


def test_recomputed_activations_give_the_same_gradients(encoder):
    image = torch.randn(1, 3, *encoder.image_size)
    encoder.train()
    encoder(image).square().mean().backward()
    plain = [p.grad.clone() for p in encoder.parameters()]
    encoder.zero_grad()
    encoder.backbone.set_grad_checkpointing(True)
    encoder(image).square().mean().backward()
    for one, other in zip(plain, encoder.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


def test_windows_are_the_backbone_s_own_or_the_nearest_that_fits():
    with torch.device("meta"):
        swin = make_encoder("swin_tiny_patch4_window7_224", image_size=224)
        assert swin.windows == ((7, 7),) * 4
        swin = make_encoder("swin_tiny_patch4_window7_224", image_size=192)
        assert swin.windows == ((6, 6),) * 4
        swin = make_encoder("swinv2_base_window12_192", image_size=352, window=(22, 22, 22, 11))
        assert swin.windows == ((22, 22), (22, 22), (22, 22), (11, 11))


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("swin_bse_patch4_window7_224", {}, "did you mean 'swin_base_patch4_window7_224'"),
        ("resnet50", {}, "is a ResNet: its patches cannot be hidden"),
        ("vit_base_r50_s16_224", {}, "its patches cannot be hidden"),
        ("vit_tiny_patch16_224", {"image_size": 100}, "the nearest that fits is 96 x 96"),
        ("swin_tiny_patch4_window7_224", {"image_size": 200}, "nearest that fits is 192 x 192"),
        (
            "swin_tiny_patch4_window7_224",
            {"image_size": 192, "window": 7},
            "the nearest window is 6; the nearest image is 224 x 224",
        ),
        ("vit_tiny_patch16_224", {"window": 7}, "has no windows"),
        ("vit_tiny_patch16_224", {"options": {"dpeth": 2}}, "dpeth"),
        ("vit_tiny_patch16_224", {"drop_path": 1.0}, "from 0 to below 1, not 1.0"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(name, options, says):
    with pytest.raises(ConfigurationError, match=says):
        make_encoder(name, **options)


@pytest.mark.parametrize("name", ["vit", "swin", "pooled"])
def test_weights_that_timm_has_are_a_start(name, tmp_path):
    """As from the hub, but from a file. A ViT that normalizes after pooling does so before here."""
    base, shape = TINY.get(name) or ("vit_wee_patch16_reg1_gap_256", TINY["vit"][1])
    source = timm.create_model(base, img_size=64, num_classes=0, **shape)
    norm = source.fc_norm if name == "pooled" else source.norm
    torch.nn.init.normal_(norm.weight)
    torch.save(source.state_dict(), tmp_path / "hub.pth")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "hub.pth")}}
    encoder = make_encoder(base, image_size=64, pretrained=True, options=shape | overlay)
    theirs = source.state_dict()
    for key, tensor in encoder.backbone.state_dict().items():
        start = theirs[key if key in theirs else f"fc_{key}"]
        assert tensor.shape != start.shape or torch.equal(tensor, start), key


@pytest.mark.parametrize("name, width", [("tiny", 192), ("small", 384), ("base", 768)])
def test_kamim_s_vits_are_plain_but_for_the_eps_of_their_norms(name, width):
    with torch.device("meta"):
        ours = make_encoder(f"kamim_vit_{name}_patch16").backbone
        plain = make_encoder(f"vit_{name}_patch16_224").backbone
    assert ours.num_features == width and ours.blocks[3].norm1.eps == ours.norm.eps == 1e-12
    shapes = [{n: p.shape for n, p in vit.named_parameters()} for vit in (ours, plain)]
    assert shapes[0] == shapes[1]


def test_a_kamim_vit_begins_as_hugging_face_s_and_is_rebuilt_by_its_name(tmp_path):
    encoder = make_encoder("kamim_vit_tiny_patch16", image_size=64, options={"depth": 2})
    vit = encoder.backbone
    for weight in (vit.patch_embed.proj.weight, vit.pos_embed, vit.cls_token):
        assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    save_encoder(encoder, tmp_path)
    again, _ = load_encoder(tmp_path)
    image = torch.randn(1, 3, 64, 64)
    assert again.name == encoder.name and torch.equal(again(image), encoder(image))
    assert again.another(1).backbone.norm.eps == 1e-12


def test_a_kamim_vit_has_no_weights_at_timm_s():
    with pytest.raises(ConfigurationError, match="give a checkpoint as --init"):
        make_encoder("kamim_vit_tiny_patch16", pretrained=True)


@pytest.mark.slow
def test_every_name_it_lists_is_one_it_can_make():
    for name in encoder_names()[::11]:
        with torch.device("meta"):
            make_encoder(name, image_size=448)  # which all patches divide
