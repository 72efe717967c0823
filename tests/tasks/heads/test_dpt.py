"""DPT against MultiMAE's and Hugging Face's: from the image to the gradients."""

import re

import pytest
import torch
from torch.nn import functional as F

from conftest import close, close_gradient, golden, official, tiny
from sgmim.encoders import make_encoder
from sgmim.encoders.weights import load_into
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.dpt import DPTHead

MULTIMAE = (  # what they call the parts of the head
    (r"^act_(\d)_postprocess\.0\.", r"maps.narrow.\1-."),
    (r"^act_(\d)_postprocess\.1\.", r"maps.scale.\1-."),
    (r"^scratch\.layer(\d)_rn\.", r"enter.\1-."),
    (r"^scratch\.refinenet(\d)\.", r"fuse.\1-."),
    (r"\.out_conv\.", ".project."),
    (r"\.resConfUnit1\.conv1\.", ".skip.1."),
    (r"\.resConfUnit1\.conv2\.", ".skip.3."),
    (r"\.resConfUnit2\.conv1\.", ".refine.1."),
    (r"\.resConfUnit2\.conv2\.", ".refine.3."),
    (r"^head\.0\.", "before."),
    (r"^head\.(\d)\.", lambda m: f"after.{int(m[1]) - 2}."),
    (r"(\d)-", lambda m: str(int(m[1]) - 1)),  # they count from 1
)
HUGGING_FACE = (
    (r"^neck\.reassemble_stage\.readout_projects\.(\d)\.0\.", r"maps.read.\1.both."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"maps.narrow.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"maps.scale.\1."),
    (r"^neck\.convs\.", "enter."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.", lambda m: f"fuse.{3 - int(m[1])}."),  # top first
    (r"\.projection\.", ".project."),
    (r"\.residual_layer1\.convolution1\.", ".skip.1."),
    (r"\.residual_layer1\.convolution2\.", ".skip.3."),
    (r"\.residual_layer2\.convolution1\.", ".refine.1."),
    (r"\.residual_layer2\.convolution2\.", ".refine.3."),
    (r"^head\.head\.0\.", "before."),
    (r"^head\.head\.(\d)\.", lambda m: f"after.{int(m[1]) - 2}."),
)
UNUSED = "fuse.3.skip."  # on top, where nothing is to be added: ours has none


def renamed(name, names):
    for theirs, ours in names:
        name = re.sub(theirs, ours, name)
    return name


def load_head(head, weights, names):
    state = {renamed(name, names): tensor for name, tensor in weights.items()}
    head.load_state_dict({n: t for n, t in state.items() if not n.startswith(UNUSED)})


def multimae():
    """Encoder and head of the golden case, with its weights; its last token is our first."""
    meta, _ = golden("dpt_multimae_depth")
    config, weights = meta["config"], official("dpt_multimae_depth")["model"]
    encoder = make_encoder(
        "vit_tiny_patch16_224",
        image_size=config["image_size"],
        options={
            "embed_dim": config["dim_tokens"],
            "depth": config["depth"],
            "num_heads": config["num_heads"],
            "no_embed_class": True,
        },
    )
    state = {f"blocks.{n[8:]}": t for n, t in weights.items() if n.startswith("encoder.")}
    state["cls_token"] = weights["global_tokens"]
    state["pos_embed"] = weights["input_adapters.rgb.pos_emb"].flatten(2).transpose(1, 2)
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = weights[f"input_adapters.rgb.proj.{kind}"]
    left = encoder.backbone.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and set(left.missing_keys) == {"norm.weight", "norm.bias"}

    head = DPTHead(
        encoder,
        width=config["feature_dim"],
        widths=tuple(config["layer_dims"]),
        blocks=tuple(config["hooks"]),
    )
    own = "output_adapters.depth."
    mine = {n.removeprefix(own): t for n, t in weights.items() if n.startswith(own)}
    twice = re.compile(r"act_postprocess|layer_rn\.")  # the same tensors under other names
    load_head(head, {n: t for n, t in mine.items() if not twice.search(n)}, MULTIMAE)
    return encoder, head


def test_it_predicts_and_learns_what_multimae_s_does():
    meta, io = golden("dpt_multimae_depth")
    encoder, head = multimae()
    features = head.look(encoder, io["rgb"])
    for number, seen in enumerate(features):
        close(seen.flatten(2).transpose(1, 2), io[f"tokens.{number}"][:, :-1])
    prediction = head(features, (64, 64))
    close(prediction, io["prediction"])

    valid = io["mask_valid"].bool()
    error = (prediction - io["target"]).abs()[valid]
    torch.testing.assert_close(error.mean(), io["l1_loss"], rtol=1e-5, atol=0)
    c = 0.2 * error.max().detach()
    loss = torch.where(error < c, error, (error**2 + c**2) / (2 * c)).mean()
    torch.testing.assert_close(loss, io["berhu_loss"], rtol=1e-5, atol=0)
    loss.backward()
    for name, gradient in io.items():
        if name.startswith("grad."):
            close_gradient(parameter(encoder, head, name.removeprefix("grad.")).grad, gradient)
    for name, norm in meta["grad_norm_by_parameter"].items():
        if norm > 1e-6 and "input_adapters" not in name and "global" not in name:
            found = parameter(encoder, head, name).grad.norm().item()
            assert found == pytest.approx(norm, rel=1e-4), name


def parameter(encoder, head, name):
    """The parameter that MultiMAE knows by this name."""
    if name.startswith("output_adapters"):
        return head.get_parameter(renamed(name.removeprefix("output_adapters.depth."), MULTIMAE))
    name = name.replace("input_adapters.rgb.", "patch_embed.").replace("encoder.", "blocks.")
    return encoder.backbone.get_parameter(name)


def hugging_face():
    """Encoder and head of the golden case, with its weights."""
    config, weights = golden("dpt_hf")[0]["config"], official("dpt_hf")
    encoder = make_encoder(
        "kamim_vit_tiny_patch16",  # with Hugging Face's eps
        image_size=config["image_size"],
        options={
            "embed_dim": config["hidden_size"],
            "depth": config["num_hidden_layers"],
            "num_heads": config["num_attention_heads"],
            "mlp_ratio": config["intermediate_size"] / config["hidden_size"],
        },
    )
    theirs = {re.sub(r"^dpt\.", "vit.", n): t for n, t in weights.items() if n[:4] == "dpt."}
    load_into(encoder, theirs, at_least=1.0)
    head = DPTHead(
        encoder,
        readout=config["readout_type"],
        width=config["fusion_hidden_size"],
        widths=tuple(config["neck_hidden_sizes"]),
        blocks=tuple(config["backbone_out_indices"]),
    )
    mine = {n: t for n, t in weights.items() if not n.startswith("dpt.")}
    load_head(head, mine, HUGGING_FACE)
    return encoder, head


def test_it_predicts_and_learns_what_hugging_face_s_does():
    _, io = golden("dpt_hf")
    encoder, head = hugging_face()
    features = head.look(encoder, io["pixel_values"])
    for number in range(4):
        theirs = io[f"hidden.{number + 1}"]
        close(features[number].flatten(2).transpose(1, 2), theirs[:, 1:])
        close(features[4 + number].flatten(1), theirs[:, 0])
    predicted = head(features, (64, 64)).relu()[:, 0]  # theirs ends with a ReLU
    close(predicted, io["predicted_depth"])
    loss = F.l1_loss(predicted, io["target"])
    torch.testing.assert_close(loss, io["l1_loss"], rtol=1e-5, atol=0)
    loss.backward()
    gradients = {n.removeprefix("grad."): t for n, t in io.items() if n.startswith("grad.")}
    close_gradient(encoder.backbone.cls_token.grad, gradients.pop("dpt.embeddings.cls_token"))
    assert len(gradients) == 5
    for name, gradient in gradients.items():
        close_gradient(head.get_parameter(renamed(name, HUGGING_FACE)).grad, gradient)


@pytest.mark.parametrize("readout", ["ignore", "add", "project"])
def test_only_readouts_read_the_class_token(readout):
    encoder = tiny("vit")
    head = DPTHead(encoder, readout=readout, width=8).eval()
    features = head.look(encoder, torch.randn(1, 3, *encoder.image_size))
    tokens = [torch.randn_like(map) for map in features[4:]]
    assert len(tokens) == (0 if readout == "ignore" else 4)
    if tokens:
        one, other = (head(features[:4] + t, (64, 96)) for t in (features[4:], tokens))
        assert not torch.equal(one, other)


def test_registers_are_not_taken_for_the_class_token():
    options = {"embed_dim": 48, "depth": 2, "num_heads": 3}
    encoder = make_encoder(
        "vit_tiny_patch16_224", image_size=32, options=options | {"reg_tokens": 2}
    )
    image = torch.randn(1, 3, 32, 32)
    _, classes = encoder.pyramid_with_class(image, (1,))
    whole = encoder.backbone.forward_features(image)  # through the final norm
    assert torch.equal(encoder.backbone.norm(classes[0].flatten(1)), whole[:, 0])


def test_a_vit_shows_it_evenly_spaced_blocks():
    with torch.device("meta"):
        base, large = (make_encoder(f"vit_{size}_patch16_224") for size in ("base", "large"))
        assert DPTHead(base).levels == (2, 5, 8, 11)
        assert DPTHead(base).maps.widths == (96, 192, 384, 768)
        assert DPTHead(large).levels == (5, 11, 17, 23)


@pytest.mark.parametrize(
    "channels, output, values",
    [(1, None, True), (3, None, False), (3, "value", True), (1, "classes", False)],
)
def test_one_channel_is_a_value_and_several_are_classes_unless_it_is_told(channels, output, values):
    head = DPTHead(tiny("vit"), channels, output=output, width=8)
    norms = [module for module in head.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert (not norms) is values


@pytest.mark.parametrize(
    "kind, options, says",
    [
        ("swin", {"readout": "add"}, "has no class token to add"),
        ("gap", {"readout": "project"}, "has no class token to project"),
        ("swin", {"widths": (1, 2, 3, 4)}, "leave 'widths' out"),
        ("swin", {"blocks": (1, 2, 3, 4)}, "leave the option 'blocks' out"),
        ("vit", {"blocks": (0, 1)}, "DPT has four blocks, not 2"),
        ("vit", {"widths": (8, 8)}, "DPT has four widths, not 2"),
        ("vit", {"blocks": (0, 0, 1, 12)}, "there is no block 12"),
    ],
)
def test_what_an_encoder_cannot_have_is_refused(kind, options, says):
    encoder = without_class() if kind == "gap" else tiny(kind)
    with pytest.raises(ConfigurationError, match=says):
        DPTHead(encoder, **options)


def without_class():
    shape = {"embed_dim": 48, "depth": 2, "num_heads": 3}
    options = shape | {"class_token": False, "global_pool": "avg"}
    return make_encoder("vit_tiny_patch16_224", image_size=32, options=options)
