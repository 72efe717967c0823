"""Against SimMIM's fine-tuning, forward and backward; and what probes and fine-tuning promise."""

import pytest
import torch
from torch.nn import functional as F

from conftest import close_gradient, golden, official, swin, tiny, vit
from sgmim.encoders.weights import load_into
from sgmim.errors import ConfigurationError
from sgmim.optim import make_optimizer
from sgmim.tasks.classification import Classification

CASES = {  # how SimMIM pools each; the name that the authors give what comes after pooling
    "finetune_swin": ("simmim", {}),
    "finetune_vit": ("simmim_vit", {"norm": "pooled"}),
}
NAMES = {"head.": "head.", "fc_norm.": "norm."}  # what is no encoder's, theirs and ours


def finetuned(case):
    """The task of a golden case: its pre-training checkpoint in an encoder of another size."""
    meta, io = golden(case)
    if case == "finetune_swin":
        encoder, weights = swin(meta["config"]), official("finetune_swin")
    else:
        blocks = {"use_rel_pos_bias": True, "use_shared_rel_pos_bias": False}
        encoder, weights = vit(meta["config"], **blocks), official("simmim_vit")
    report = load_into(encoder, weights)
    task = Classification(encoder, classes=5, **CASES[case][1])
    start = {name.removeprefix("start."): io[name] for name in io if name.startswith("start.")}
    task.load_state_dict({_ours(name): tensor for name, tensor in start.items()}, strict=False)
    return task, io, report


def _ours(name):
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return "encoder.backbone." + name


def near(ours, theirs):
    """The tolerance of these cases: tables that are interpolated carry the error of a spline."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("case", CASES)
def test_it_loads_and_computes_what_simmims_fine_tuning_does(case):
    task, io, report = finetuned(case)
    assert not report.missing and not report.unexplained
    near(task.features(io["image"]), io["features"])
    near(task.predict(io["image"]), io["logits"])
    [loss] = task({"image": io["image"], "label": io["label"]}).values()
    torch.testing.assert_close(loss, io["loss"], rtol=1e-4, atol=0)
    loss.backward()
    parameters = dict(task.named_parameters())
    for name in io:
        kind, _, theirs = name.partition(".")
        if kind == "loaded":
            near(parameters[_ours(theirs)].detach(), io[name])
        if kind == "grad":
            close_gradient(parameters[_ours(theirs)].grad, io[name])


def batch_of(task, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = task.encoder.image_size
    return {
        "image": torch.randn(size, 3, height, width, generator=generator),
        "label": torch.randint(task.limits["label"], (size,), generator=generator),
    }


@pytest.mark.parametrize("kind", ["vit", "simmim_vit", "swin"])
@pytest.mark.parametrize("norm", ["final", "pooled", "none"])
def test_every_parameter_that_is_trained_gets_a_gradient(kind, norm):
    torch.manual_seed(0)
    for layer in (None, 1) if norm != "final" or kind.endswith("vit") else (None,):
        task = Classification(tiny(kind), classes=5, norm=norm, layer=layer)
        sum(task(batch_of(task)).values()).backward()
        idle = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle and any(p.requires_grad for p in task.encoder.parameters())


def test_block_8_of_12_without_the_norm_is_what_kamim_probes():
    task = Classification(
        tiny("vit", (32, 32), drop_path=0.0), classes=5, layer=1, norm="none", frozen=True
    )
    vit, image = task.encoder.backbone, batch_of(task)["image"]
    tokens = vit.blocks[0](vit._pos_embed(vit.patch_embed(image)))
    torch.testing.assert_close(task.features(image), tokens[:, 1:].mean(dim=1))


def test_the_class_token_after_the_norm_is_what_mae_probes():
    task = Classification(tiny("vit"), classes=5, pool="cls", batch_norm=True, frozen=True)
    image = batch_of(task)["image"]
    features = task.encoder.summary(image)
    torch.testing.assert_close(task.features(image), features)
    mean, variance = features.mean(dim=0), features.var(dim=0, unbiased=False)
    seen = (features - mean) / (variance + 1e-6).sqrt()
    torch.testing.assert_close(task.predict(image), task.head(seen), atol=1e-4, rtol=1e-4)


def test_a_swin_is_read_after_its_norm_or_before():
    encoder, image = tiny("swin"), torch.randn(2, 3, 64, 96)
    after = Classification(encoder, classes=5).features(image)
    torch.testing.assert_close(after, encoder(image).mean(dim=(2, 3)))
    before = Classification(encoder, classes=5, norm="none").features(image)
    [last] = encoder.backbone.forward_intermediates(
        image, indices=(3,), norm=False, intermediates_only=True
    )
    torch.testing.assert_close(before, last.mean(dim=(2, 3)))


def test_a_frozen_encoder_stays_as_it_is_to_the_bit():
    torch.manual_seed(0)
    task = Classification(tiny("vit", drop_path=0.5), classes=5, frozen=True, batch_norm=True)
    before = {name: tensor.clone() for name, tensor in task.encoder.state_dict().items()}
    optimizer, batch = make_optimizer(task.train(), name="lars", lr=1.0), batch_of(task)
    assert not task.encoder.training and task.statistics.training
    first = task.features(batch["image"])
    for _ in range(2):
        optimizer.zero_grad()
        sum(task(batch).values()).backward()
        optimizer.step()
    assert torch.equal(task.features(batch["image"]), first)
    after = task.encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_loss_of_mixed_images_is_timms_soft_cross_entropy():
    mix, loss = pytest.importorskip("timm.data"), pytest.importorskip("timm.loss")
    task = Classification(tiny("vit"), classes=5, smoothing=0.1)
    batch = batch_of(task, 6)
    share = 0.3
    soft = mix.mixup.mixup_target(batch["label"], 5, share, 0.1)
    theirs = loss.SoftTargetCrossEntropy()(task.predict(batch["image"]), soft)
    mixed = {"other": batch["label"].flip(0), "share": torch.full((6,), share)}
    torch.testing.assert_close(task(batch | mixed)["cross_entropy"], theirs)
    plain = F.cross_entropy(task.predict(batch["image"]), batch["label"], label_smoothing=0.1)
    torch.testing.assert_close(task(batch)["cross_entropy"], plain)


def test_layers_learn_as_slowly_as_simmim_says():
    plain = Classification(tiny("simmim_vit"), classes=5, norm="pooled")
    rates = scales(plain, 0.5)
    assert rates["encoder.backbone.patch_embed.proj.weight"] == 0.5**3
    assert rates["encoder.backbone.blocks.0.mlp.fc1.weight"] == 0.5**2
    assert rates["encoder.backbone.rel_pos_bias.relative_position_bias_table"] == 1
    assert rates["norm.weight"] == rates["head.weight"] == rates["head.bias"] == 1
    windows = scales(Classification(tiny("swin"), classes=5), 0.5)  # 5 blocks
    assert windows["encoder.backbone.patch_embed.proj.weight"] == 0.5**6
    assert windows["encoder.backbone.layers.1.downsample.reduction.weight"] == 0.5**5
    assert windows["encoder.backbone.norm.weight"] == windows["head.weight"] == 1


def scales(task, decay):
    groups = make_optimizer(task, lr=1.0, layer_decay=decay).param_groups
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    return {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}


def test_pictures_say_in_words_what_is_right_and_what_is_not():
    task = Classification(tiny("vit", (32, 32)), classes=5).eval()
    batch = batch_of(task)
    batch["label"] = task.predict(batch["image"]).argmax(dim=1)
    batch["label"][1:] = (batch["label"][1:] + 1) % 5
    task.class_names = ("a cat", "a dog", "a bird with a very long name indeed", "x", "y")
    with torch.no_grad():
        sheet = task.pictures(batch)
    assert sheet["class"].shape == (4, 3, 128, 128)
    right, wrong = sheet["class"][0, :, 0, 0], sheet["class"][1, :, 0, 0]
    assert right.argmax() == 1 and wrong.argmax() == 0  # green, red
    assert all(0 < (words < 0.5).float().mean() < 0.2 for words in sheet["class"])  # ink


@pytest.mark.parametrize(
    "options, said",
    [
        ({"classes": 1}, "classes are 2 or more"),
        ({"smoothing": 1.0}, "smoothing is from 0"),
        ({"layer": 3}, "has 2 blocks, counted from 1: there is no layer 3"),
        ({"layer": 0}, "no layer 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        Classification(tiny("vit"), **{"classes": 5} | options)


def test_a_swin_has_no_class_token_and_no_norm_of_its_first_stages():
    with pytest.raises(ConfigurationError, match=r"has no class token: give --task.pool mean"):
        Classification(tiny("swin"), pool="cls")
    with pytest.raises(ConfigurationError, match="for its last stage, not for stage 2"):
        Classification(tiny("swin"), layer=2)
