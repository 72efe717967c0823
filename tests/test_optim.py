import re
from math import log

import pytest
import timm
import torch
from torch import nn

from conftest import golden
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError
from sgmim.objective import Objective, Task
from sgmim.optim import (
    adamw,
    groups,
    layer_scales,
    make_optimizer,
    officially_spared,
    spared,
)

SWIN = ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "num_heads": (1, 2, 4, 8)})
SWINV2 = ("swinv2_tiny_window8_256", {"embed_dim": 8, "num_heads": (1, 2, 4, 8)})
VIT = ("vit_tiny_patch16_224", {"embed_dim": 8, "num_heads": 2, "depth": 4})
BEIT = ("simmim_vit_tiny_patch16", {"embed_dim": 8, "num_heads": 2, "depth": 4})
BACKBONES = [SWIN, SWINV2, VIT, BEIT]


def painter(backbone, kind=Objective):
    """An objective around an encoder: a mask token and a head besides."""
    objective = kind()
    objective.encoder = make_encoder(backbone[0], image_size=64, options=backbone[1])
    objective.token = nn.Parameter(torch.zeros(objective.encoder.patch_dim))
    objective.head = nn.Linear(objective.encoder.dim, 3)
    return objective


def timms(name):
    """timm's name for a parameter of the authors' Swin."""
    name = name.removeprefix("encoder.").replace("rpe_mlp", "cpb_mlp").replace("norm3", "norm")
    return re.sub(
        r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name
    )


def ndim(name):
    """1 for what has one dimension in the authors' models, else 2."""
    ones = r"bias$|gamma_|norm\d?\.weight$|deconv_layers\.[147]\.weight|conv_layers\.1\.weight"
    return 1 if re.search(ones, name) else 2


@pytest.mark.parametrize(
    ("run", "merge_as_layer"),
    [
        ("finetune_swin", False),
        ("finetune_vit", False),
        ("finetune_mae_vit", False),
        ("finetune_depth_swinv2", True),
    ],
)
def test_every_layer_learns_at_the_authors_rate(run, merge_as_layer):
    theirs = golden("param_groups")[0]["groups"][run]
    scales = {timms(name): entry["lr_scale"] for name, entry in theirs["parameters"].items()}
    ours = layer_scales(scales, theirs["layer_decay"], merge_as_layer=merge_as_layer)
    assert ours == pytest.approx(scales, rel=1e-9)


@pytest.mark.parametrize("family", ["swin", "vit"])
def test_pre_training_can_decay_exactly_what_simmim_decays(family):
    theirs = golden("param_groups")[0]["groups"][f"pretrain_{family}"]
    for is_spared, names in ((False, theirs["decay"]), (True, theirs["no_decay"])):
        for name in names:
            ours = officially_spared(name, ndim(name), plain=family == "vit", tuning=False)
            assert ours == is_spared, name


@pytest.mark.parametrize(
    "run", ["finetune_swin", "finetune_vit", "finetune_mae_vit", "finetune_depth_swinv2"]
)
def test_fine_tuning_can_decay_exactly_what_the_authors_decay(run):
    theirs = golden("param_groups")[0]["groups"][run]["parameters"]
    for name, entry in theirs.items():
        ours = officially_spared(name, ndim(name), plain="vit" in run, tuning=True)
        assert ours == (entry["weight_decay"] == 0), name


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone[0])
@pytest.mark.parametrize("exclude", ["recommended", "official", "none"])
def test_every_trained_parameter_is_in_one_group(backbone, exclude):
    objective = painter(backbone)
    objective.head.bias.requires_grad_(False)
    members = [
        name
        for group in groups(objective, exclude=exclude, layer_decay=0.9)
        for name, _ in group["params"]
    ]
    trained = [name for name, p in objective.named_parameters() if p.requires_grad]
    assert sorted(members) == sorted(trained)


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone[0])
def test_only_matrices_and_kernels_decay(backbone):
    objective = painter(backbone)
    decayed = {name for name, _ in objective.named_parameters()} - spared(objective)
    assert all(re.search(r"(proj|qkv|fc1|fc2|reduction|head)\.weight$", name) for name in decayed)


def test_a_bias_table_of_swin_decays_in_the_authors_pre_training_but_not_in_their_fine_tuning():
    table = "encoder.backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    assert table not in spared(painter(SWIN), "official")
    assert table in spared(painter(SWIN, Task), "official")
    assert table in spared(painter(SWIN))
    assert "token" in spared(painter(SWIN), "official")
    assert "token" not in spared(painter(BEIT), "official")


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone[0])
def test_the_rate_rises_from_the_stem_to_the_head(backbone):
    optimizer = adamw(painter(backbone), lr=1.0, layer_decay=0.5)
    rates = {name: g["lr"] for g in optimizer.param_groups for name in g["param_names"]}
    blocks = [
        rates[name]
        for name in painter(backbone).state_dict()
        if name.endswith("norm1.weight")  # one a block, in order
    ]
    assert blocks == [0.5 ** (len(blocks) - i) for i in range(len(blocks))]
    assert rates["encoder.backbone.patch_embed.proj.weight"] == 0.5 ** (len(blocks) + 1)
    assert rates["head.weight"] == rates["token"] == 1.0


SIZES = {  # timm's name, the count of layers, whether mergings are layers, the share of a layer
    "MIM-Depth-Estimation": ("swinv2_base_window12_192", 29, True, 0.9),
    "SimMIM, Swin": ("swin_base_patch4_window7_224", 26, False, 0.8),
    "MAE and MultiMAE": ("vit_base_patch16_224", 14, False, 0.75),
    "SimMIM, ViT": ("beit_base_patch16_224", 14, False, 0.65),
}


@pytest.mark.parametrize("convention", SIZES)
def test_the_published_counts_of_layers_at_full_size(convention):
    name, layers, merge_as_layer, decay = SIZES[convention]
    with torch.device("meta"):
        names = [name for name, _ in timm.create_model(name, num_classes=0).named_parameters()]
    scales = layer_scales(names, decay, merge_as_layer=merge_as_layer)
    assert set(scales) == set(names)
    levels = {round(log(scale, decay)) for scale in scales.values()}
    merged = {layers - 1 - round(log(scales[n], decay)) for n in names if "downsample" in n}
    if merge_as_layer:
        assert len(levels) == layers and merged == {3, 6, 25}  # blocks 2, 2, 18, 2 of the stages
    else:
        assert len(levels) == layers and merged <= {2, 4, 22}
    for name in names:
        if name.startswith(("patch_embed", "pos_embed", "cls_token")):
            assert scales[name] == pytest.approx(decay ** (layers - 1))
        if name.startswith(("norm", "fc_norm")):
            assert scales[name] == 1
        if block := re.fullmatch(r"blocks\.(\d+)\.norm1\.weight", name):
            assert scales[name] == pytest.approx(decay ** (layers - 2 - int(block[1])))


def test_the_encoder_may_get_a_share_of_the_rate():
    whole, tenth = (
        {n: g["lr"] for g in optimizer.param_groups for n in g["param_names"]}
        for optimizer in (
            adamw(painter(SWIN), lr=2e-4, layer_decay=0.9),
            adamw(painter(SWIN), lr=2e-4, layer_decay=0.9, encoder_share=0.1),
        )
    )
    for name, rate in whole.items():
        share = 0.1 if name.startswith("encoder.") else 1
        assert tenth[name] == pytest.approx(share * rate)
    with pytest.raises(ConfigurationError, match="encoder_share is 0"):
        adamw(painter(VIT), lr=1e-3, encoder_share=-0.1)


def test_the_optimizer_has_a_fused_kernel():
    assert adamw(painter(VIT), lr=1e-3).defaults["fused"]


def test_a_negative_weight_decay_is_refused():
    with pytest.raises(ConfigurationError, match=r"weight_decay is 0 \(none\) or more, not -0.1"):
        adamw(painter(VIT), lr=1e-3, weight_decay=-0.1)


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_exclusion_is_named():
    with pytest.raises((ConfigurationError, TypeError), match="official"):
        spared(painter(VIT), "officially")


def numbered(weight, bias):
    """An objective of one matrix and one bias, full of numbers."""
    objective = Objective()
    objective.encoder = make_encoder(VIT[0], image_size=64, options=VIT[1])
    objective.encoder.requires_grad_(False)
    objective.head = nn.Linear(3, 4)
    nn.init.constant_(objective.head.weight, weight)
    nn.init.constant_(objective.head.bias, bias)
    return objective


def test_lars_steps_by_the_trust_ratio_on_matrices_and_plainly_on_biases():
    objective = numbered(weight=2.0, bias=2.0)
    optimizer = make_optimizer(objective, name="lars", lr=10.0, weight_decay=0.0)
    weight, bias = objective.head.weight, objective.head.bias
    weight.grad, bias.grad = torch.full_like(weight, 7.0), torch.full_like(bias, 7.0)
    optimizer.step()
    # |weight| / |gradient| is 2 / 7: a step of 10 * 0.001 * 2 / 7 * 7; without it, of 10 * 7
    torch.testing.assert_close(weight.data, torch.full((4, 3), 2 - 0.02))
    torch.testing.assert_close(bias.data, torch.full((4,), 2.0 - 70.0))
    optimizer.step()  # the momentum of .9 adds to the next step, whose ratio is smaller
    step = 0.02 * 0.9 + 0.01 * 1.98
    torch.testing.assert_close(weight.data, torch.full((4, 3), 1.98 - step))


def test_lars_has_the_groups_of_adamw_and_its_rates():
    objective = painter(SWIN)
    for options in ({}, {"layer_decay": 0.5, "weight_decay": 0.1}):
        theirs = make_optimizer(objective, lr=2.0, **options).param_groups
        ours = make_optimizer(objective, name="lars", lr=2.0, **options).param_groups

        def told(groups):
            return {
                id(p): (g["lr"], g["weight_decay"], g["lr_scale"])
                for g in groups
                for p in g["params"]
            }

        assert told(ours) == told(theirs)
        for group in ours:
            assert {p.ndim > 1 for p in group["params"]} == {group["always_adapt"]}
            assert (group["momentum"], group["trust_coeff"]) == (0.9, 0.001)


def test_adamw_is_what_everything_has_unless_told():
    one, other = (make(painter(VIT), lr=1e-3) for make in (make_optimizer, adamw))
    assert type(one) is type(other) and one.defaults == other.defaults
