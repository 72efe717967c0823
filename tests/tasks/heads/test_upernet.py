"""UperNet against Hugging Face's, which is mmsegmentation's: on a Swin of theirs, and alone."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import close, close_gradient, golden, official, tiny
from sgmim.distributed.parallel import synchronize
from sgmim.encoders import make_encoder
from sgmim.encoders.weights import load_into
from sgmim.errors import ConfigurationError
from sgmim.tasks.heads.deconv import DeconvHead
from sgmim.tasks.heads.upernet import UperNetHead

OURS = (  # what they call the parts of the head
    (r"^decode_head\.", ""),
    (r"^psp_modules\.(\d+)\.1\.", r"context.pool.\1.1."),
    (r"^bottleneck\.", "context.fuse."),
    (r"^lateral_convs\.", "lateral."),
    (r"^fpn_convs\.", "smooth."),
    (r"^fpn_bottleneck\.", "fuse."),
    (r"^classifier\.", "value.1."),
    (r"^auxiliary_head\.convs\.0\.", "auxiliary.0."),
    (r"^auxiliary_head\.classifier\.", "auxiliary.2."),
    (r"\.conv\.", ".0."),
    (r"\.batch_norm\.", ".1."),
)


def renamed(name):
    for theirs, ours in OURS:
        name = re.sub(theirs, ours, name)
    return name


def authors():
    """Encoder and head of the golden case, with its weights."""
    config, weights = golden("upernet_hf")[0]["config"], official("upernet_hf")
    shape = config["backbone"]
    encoder = make_encoder(
        "swin_tiny_patch4_window7_224",
        image_size=shape["image_size"],
        window=shape["window_size"],
        # theirs pads the last stage to a whole window
        options={name: shape[name] for name in ("embed_dim", "depths", "num_heads")}
        | {"always_partition": True},
    )
    swin = {re.sub("^backbone", "swin", n): t for n, t in weights.items() if n[:8] == "backbone"}
    norms = {n: t for n, t in swin.items() if "hidden_states_norms" in n}
    top = {f"swin.layernorm.{kind}": norms[f"swin.hidden_states_norms.stage4.{kind}"]
           for kind in ("weight", "bias")}  # fmt: skip
    others = {name: tensor for name, tensor in swin.items() if name not in norms}
    load_into(encoder, others | top, at_least=1.0)

    head = UperNetHead(
        encoder,
        config["num_labels"],
        width=config["hidden_size"],
        auxiliary_width=config["auxiliary_channels"],
    )
    state = {renamed(n): t for n, t in weights.items() if n.startswith(("decode", "auxiliary"))}
    for stage in range(3):
        for kind in ("weight", "bias"):
            theirs = norms[f"swin.hidden_states_norms.stage{stage + 1}.{kind}"]
            state[f"neck.scale.{stage}.{kind}"] = theirs
    head.load_state_dict(state)
    return encoder.eval(), head.eval()


def test_it_sees_says_and_learns_what_theirs_does():
    meta, io = golden("upernet_hf")
    encoder, head = authors()
    size = io["pixel_values"].shape[-2:]
    features = head.look(encoder, io["pixel_values"])
    for number, seen in enumerate(head.neck(features)):
        close(seen, io[f"feature.{number}"])
    (_, logits), (weight, auxiliary) = outputs = head.trained(features, tuple(size))
    close(logits, io["logits"])
    close(head(features, tuple(size)), io["logits"])
    close(auxiliary, F.interpolate(io["auxiliary_head_logits"], size, mode="bilinear"))
    assert weight == meta["config"]["auxiliary_loss_weight"]

    labels = io["labels"]
    loss = sum(w * F.cross_entropy(said, labels, ignore_index=255) for w, said in outputs)
    torch.testing.assert_close(loss, io["loss"], rtol=1e-5, atol=0)
    loss.backward()
    gradients = {n.removeprefix("grad."): t for n, t in io.items() if n.startswith("grad.")}
    assert len(gradients) == 4
    for name, gradient in gradients.items():
        close_gradient(head.get_parameter(renamed(name)).grad, gradient)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pool_scales", [(1, 2, 3, 6), (2, 5)])
def test_with_the_same_weights_it_is_theirs(pool_scales, training):
    module = pytest.importorskip("transformers.models.upernet.modeling_upernet")
    encoder = tiny("swin")
    config = SimpleNamespace(pool_scales=pool_scales, hidden_size=16, num_labels=5)
    theirs = module.UperNetHead(config, list(encoder.widths)).train(training)
    head = UperNetHead(
        encoder, 5, width=16, pool_scales=pool_scales, auxiliary=0.0, dropout=0.0
    ).train(training)
    head.neck = nn.Identity()
    head.load_state_dict({renamed(n): t for n, t in theirs.state_dict().items()})
    maps = [
        torch.randn(2, dim, 96 // stride + 1, 128 // stride)
        for dim, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    close(head.decode(maps), theirs(maps))


def test_a_vit_shows_it_the_blocks_of_mae_s_and_beit_s_configurations():
    with torch.device("meta"):
        base, large = (make_encoder(f"vit_{size}_patch16_224") for size in ("base", "large"))
        assert UperNetHead(base).levels == (3, 5, 7, 11)
        assert UperNetHead(large).levels == (7, 11, 15, 23)
        assert UperNetHead(base, blocks=(0, 1, 2, 3)).levels == (0, 1, 2, 3)
        assert UperNetHead(base, neck="simple").levels == (11,)


def test_one_image_pooled_to_one_cell_cannot_be_learned_from_and_it_says_so():
    encoder = tiny("vit")
    features = UperNetHead(encoder).look(encoder, torch.randn(1, 3, *encoder.image_size))
    head = UperNetHead(encoder, 2, width=8)
    with pytest.raises(ConfigurationError, match="2 images or more"):
        head.trained(features, encoder.image_size)
    assert UperNetHead(encoder, 2, width=8, pool_scales=(2, 3)).trained(features, (64, 96))
    assert head.eval()(features, (64, 96)).isfinite().all()


def test_on_several_gpus_its_norms_are_those_of_all_and_its_weights_what_they_were():
    head = UperNetHead(tiny("swin"), 5, width=8)
    before = dict(head.named_parameters())
    count = sum(isinstance(module, nn.BatchNorm2d) for module in head.modules())
    synchronize(head, torch.device("cuda"))
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in head.modules()) == count
    assert all(before[name] is now for name, now in head.named_parameters())

    deconvolutions = DeconvHead(tiny("swin"))  # trained with each GPU's own
    synchronize(deconvolutions, torch.device("cuda"))
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in deconvolutions.modules())


@pytest.mark.parametrize(
    "kind, options, says",
    [
        ("vit", {"blocks": (0, 1, 1, 2)}, "2 blocks, counted from 0 to 1: there is no block 2"),
        ("vit", {"blocks": (0, 1)}, "made of four blocks, not of 0, 1"),
        ("vit", {"neck": "simple", "blocks": (0, 1)}, "made of one block, not of 0, 1"),
        ("swin", {"blocks": (0, 1, 2, 3)}, "leave the option 'blocks' out"),
        ("swin", {"neck": "simple"}, "leave the option 'neck' out"),
        ("swin", {"pool_scales": (1, 0)}, "1 cell a side or more"),
    ],
)
def test_what_an_encoder_cannot_have_is_refused(kind, options, says):
    with pytest.raises(ConfigurationError, match=says):
        UperNetHead(tiny(kind), **options)
