"""Sources without golden weights: made up in their layout, or with transformers' own models."""

import re
from argparse import Namespace

import pytest
import torch
from timm.models.swin_transformer import PatchMerging
from torch.nn import functional as F
from torch.testing import assert_close

from conftest import tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.checkpoints import tensors_of
from sgmim.encoders.layouts import LAYOUTS, recognized
from sgmim.encoders.layouts.openmmlab import by_place
from sgmim.encoders.shapes import described
from sgmim.encoders.weights import convert, load_into
from sgmim.errors import DataError


def alike(encoder):
    """Another of the same kind, with other weights."""
    return encoder.another(3)


def disturbed(model):
    """With other numbers also where weights begin as 0 or 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def downsample_before(state):
    """As all but timm name it."""
    return {
        name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample"): tensor
        for name, tensor in state.items()
        for stage in [int(name.split(".")[1]) if ".downsample" in name else 0]
    }


def swin_buffers(state):
    return state | {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4, dtype=torch.int64),
        "layers.0.blocks.1.attn_mask": torch.zeros(16, 4, 4),
    }


def under(prefix, state, **other):
    return {f"{prefix}{name}": t for name, t in state.items()} | other


def simmim(state):
    swin = swin_buffers(downsample_before(state))
    return under("encoder.", swin | {"mask_token": torch.zeros(1)}) | {
        "decoder.0.weight": torch.zeros(3), "decoder.0.bias": torch.zeros(3)}  # fmt: skip


MMLAB = (
    (r"^layers\.", "stages."), (r"^norm\.", "norm3."), (r"\.attn\.", ".attn.w_msa."),
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0.0."), (r"\.mlp\.fc2\.", ".ffn.layers.1."),
)  # fmt: skip


def openmmlab(state):
    names = {"neck.decode.0.weight": torch.zeros(3), "backbone.mask_token": torch.zeros(1)}
    for name, tensor in downsample_before(state).items():
        if ".downsample." in name:  # four patches, left column first -> channels of four places
            four = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            tensor = four.transpose(-1, -2).flatten(-2)
        for ours, theirs in MMLAB:
            name = re.sub(ours, theirs, name)
        names[f"backbone.{name}"] = tensor
    return {"meta": {"epoch": 100}, "state_dict": names}


def dino(state):
    head = {"head.mlp.0.weight": torch.zeros(3), "head.last_layer.weight_g": torch.zeros(3)}
    student = {f"module.{n}": t for n, t in (under("backbone.", state) | head).items()}
    teacher = under("backbone.", {n: t + 1 for n, t in state.items()}) | head
    return {"student": student, "teacher": teacher, "epoch": 3, "args": Namespace(lr=0.1)}


def simmim_fine_tuned(state):
    norm = {n: t for n, t in state.items() if n.startswith("norm.")}
    state = {n: t for n, t in state.items() if n not in norm} | under("fc_", norm)
    index = {"rel_pos_bias.relative_position_index": torch.zeros(4, dtype=torch.int64)}
    return {"model": state | index | {"head.weight": torch.zeros(5, 3)}, "max_accuracy": 83.8}


FAKES = {  # source: the encoder, what makes a file of it, what its layout calls itself
    "simmim swin": ("swin", lambda s: {"model": simmim(s)}, "SimMIM"),
    "simmim swinv2": ("swinv2", lambda s: {"model": simmim(s)}, "SimMIM"),
    "swin": ("swin", lambda s: {"model": swin_buffers(downsample_before(s))}, "Swin's authors"),
    "swinv2": ("swinv2", lambda s: {"model": swin_buffers(downsample_before(s))}, "Swin's"),
    "simmim vit": ("simmim_vit", simmim_fine_tuned, "BEiT's authors, or SimMIM's"),
    "openmmlab": ("swin", openmmlab, "OpenMMLab"),
    "dino's student": ("vit", dino, "DINO"),
    "dino's backbone": ("vit", lambda s: s, "timm"),
    "moco, wrapped": ("vit", lambda s: {"state_dict": under("module.base_encoder.", s) | {
        "module.momentum_encoder.cls_token": torch.zeros(1)}}, "MoCo v3"),
    "a run": ("vit", lambda s: under("encoder.backbone.", s, token=torch.zeros(3)), "run of sgmim"),
    "mae": ("vit", lambda s: {"model": s | {"decoder_embed.weight": torch.zeros(3),
        "decoder_blocks.0.norm1.weight": torch.zeros(3), "mask_token": torch.zeros(1)}}, "MAE"),
}  # fmt: skip


@pytest.mark.parametrize("source", FAKES)
def test_a_source_comes_back_as_it_was_with_nothing_left_over(source):
    kind, fake, named = FAKES[source]
    encoder = tiny(kind, (64, 64)).eval()
    disturbed(encoder)
    content = fake(encoder.backbone.state_dict())
    again = alike(encoder).eval()
    report = load_into(again, content, student="student" in source)
    assert named in report.source and report.share == 1
    assert not report.missing and not report.unexplained and not report.resized
    assert report.kept + len(report.dropped) == report.tensors
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(image), encoder(image))


def test_of_dino_the_teacher_is_taken_unless_the_student_is_asked_for():
    state = tiny("vit", (64, 64)).backbone.state_dict()
    teacher, student = (convert(dino(state), student=s).state["cls_token"] for s in (False, True))
    assert torch.equal(teacher, student + 1)


def test_patches_are_merged_as_by_openmmlab():
    """Theirs unfolds a map, so its channels come one after another, each with its four places."""
    torch.manual_seed(0)
    image = torch.randn(1, 4, 6, 5)  # (b, h, w, d)
    weight, scale, shift = torch.randn(10, 20), torch.randn(20), torch.randn(20)
    four = F.unfold(image.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)  # (b, n, 4 d)
    theirs = F.linear(F.layer_norm(four, (20,), scale, shift), weight)
    merging = PatchMerging(5)
    merging.load_state_dict({
        "reduction.weight": by_place(weight),
        "norm.weight": by_place(scale),
        "norm.bias": by_place(shift),
    })  # fmt: skip
    assert_close(merging(image).flatten(1, 2), theirs, rtol=1e-5, atol=1e-5)


def test_a_plain_vit_takes_all_of_simmim_s_but_its_relative_positions_if_these_may_be_lost():
    simmim_vit = disturbed(tiny("simmim_vit", (64, 64)))
    state = simmim_vit.backbone.state_dict()
    vit = tiny("vit", (64, 64)).eval()
    with pytest.raises(DataError, match="--allow-lossy"):
        load_into(vit, state)
    report = load_into(vit, state, allow_lossy=True)
    assert "relative positions, which are lost" in str(report) and report.share == 1
    table = simmim_vit.backbone.rel_pos_bias.relative_position_bias_table
    with torch.no_grad():
        table.zero_()  # layer scale and biases are exact: without positions both are the same
    image = torch.randn(2, 3, 64, 64)
    assert_close(vit(image), simmim_vit(image), rtol=1e-4, atol=1e-5)


WIDE = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 3,
        "num_hidden_layers": 2, "image_size": 64}  # fmt: skip
DEEP = {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [3, 6, 12, 24], "image_size": 64,
        "window_size": 2, "drop_path_rate": 0.0}  # fmt: skip
NARROW = {"decoder_hidden_size": 32, "decoder_intermediate_size": 32,
          "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}  # fmt: skip
OLD = (  # version 5's names in those of version 4, for a plain ViT
    (".layers.", ".encoder.layer."), (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense."),
    (".relative_position_bias.", ".attention.attention.relative_position_bias."),
    (".shared_position_bias.", ".encoder.relative_position_bias."),
)  # fmt: skip
HUB = {  # class, settings, its encoder's name there, what it is recognized as
    "vit": ("ViTForImageClassification", "ViTConfig", WIDE, "vit", "transformers' ViT"),
    "mae": ("ViTMAEForPreTraining", "ViTMAEConfig", WIDE | NARROW, "vit", "transformers' ViTMAE"),
    "simmim": ("ViTForMaskedImageModeling", "ViTConfig", WIDE, "vit", "SimMIM of a ViT"),
    "beit": ("BeitModel", "BeitConfig", WIDE | {"use_relative_position_bias": True}, "",
             "transformers' BEiT"),
    "shared beit": ("BeitModel", "BeitConfig", WIDE | {
        "use_shared_relative_position_bias": True, "use_absolute_position_embeddings": True}, "",
        "transformers' BEiT"),
    "swin": ("SwinForImageClassification", "SwinConfig", DEEP, "swin", "transformers' Swin"),
    "swin simmim": ("SwinForMaskedImageModeling", "SwinConfig", DEEP | {"encoder_stride": 32},
                    "swin", "SimMIM of a Swin"),
    "swinv2": ("Swinv2ForImageClassification", "Swinv2Config", DEEP, "swinv2",
               "transformers' Swin"),
}  # fmt: skip


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", HUB)
def test_models_of_transformers_compute_the_same_here_by_old_and_new_names(kind, version):
    transformers = pytest.importorskip("transformers")
    name, config, settings, inner, source = HUB[kind]
    torch.manual_seed(0)
    config = getattr(transformers, config)(**settings)
    config.use_mean_pooling = False  # a BEiT has its norm before it pools, or after
    whole = disturbed(getattr(transformers, name)(config))
    state = dict(whole.state_dict())
    if version == 4:
        if "swin" in kind:
            pytest.skip("by golden kamim_swin")
        state = {old(f".{n}").removeprefix("."): t for n, t in state.items()}
    converted = convert(state)
    assert source in converted.source
    told = {"heads": 3, "window": 2}
    keywords = described(converted, state, told)
    encoder = make_encoder(**keywords | {"image_size": 64}).eval()
    report = load_into(encoder, state)
    assert report.share == 1 and not report.missing and not report.unexplained
    theirs = getattr(whole, inner) if inner else whole
    image = torch.randn(2, 3, 64, 64)
    if kind == "mae":
        theirs.config.mask_ratio = 0.0
        out = theirs(image, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
    else:
        out = theirs(image).last_hidden_state
    out = out if "swin" in kind else out[:, 1:]
    ours = encoder(image).flatten(2).transpose(1, 2)
    assert_close(ours, out, rtol=1e-4, atol=1e-4)


def old(name):
    for new, before in OLD:
        name = name.replace(new, before)
    return name


def test_no_source_is_taken_for_another():
    """Each is recognized as itself among all, so no two layouts compete for one file."""
    for source, (kind, fake, named) in FAKES.items():
        state = tensors_of(fake(tiny(kind, (64, 64)).backbone.state_dict()))
        found = recognized(state)
        assert found is not None and named in found.source, source
        assert found in LAYOUTS
