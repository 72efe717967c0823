"""SG-MIM is the authors' where it is told to be, and keeps the paper's promises elsewhere."""

import pytest
import torch

from conftest import batch_for, close, close_gradient, fixed, golden, official, swin, tiny
from sgmim.encoders.weights import load_into
from sgmim.errors import ConfigurationError
from sgmim.losses import trimmed_standardized
from sgmim.masking import refine
from sgmim.methods.sgmim import PAPER_CODE, SGMIM
from sgmim.methods.simmim import SimMIM

AUTHORS = {  # ours: theirs
    "token": "encoder.mask_token",
    "head": "img_decoder.0",
    "knowledge_head": "dep_decoder.0",
    "extractor.embed": "depth_encoder.depth_patch_embed.proj",
    "extractor.norm": "depth_encoder.depth_patch_embed.norm",
    "extractor.stages.0": "depth_encoder.patch_merging_1",
    "extractor.stages.1": "depth_encoder.patch_merging_2",
    "extractor.stages.2": "depth_encoder.patch_merging_3",
    "fusion.blocks.0.attention": "fusion_blk_img.cross_attn",
    "fusion.blocks.0.mlp.0": "fusion_blk_img.mlp.fc1",
    "fusion.blocks.0.mlp.2": "fusion_blk_img.mlp.fc2",
    "fusion.blocks.0": "fusion_blk_img",
    "encoder.backbone.layers.1.downsample": "encoder.layers.0.downsample",
    "encoder.backbone.layers.2.downsample": "encoder.layers.1.downsample",
    "encoder.backbone.layers.3.downsample": "encoder.layers.2.downsample",
    "encoder.backbone": "encoder",
}


def theirs(name):
    ours = next(ours for ours in AUTHORS if name == ours or name.startswith(ours + "."))
    return AUTHORS[ours] + name.removeprefix(ours)


def authors_sgmim():
    meta, io = golden("sgmim_swin")
    weights = official("sgmim_swin")["model"]
    method = SGMIM.paper_code(swin(meta["config"]))
    report = load_into(method.encoder, weights, at_least=1.0)
    assert not report.missing and not report.unexplained
    state = {n: weights[theirs(n)].view_as(t) for n, t in method.state_dict().items()}
    method.load_state_dict(state)
    return meta, io, method


def test_features_losses_and_gradients_are_the_authors():
    meta, io, method = authors_sgmim()
    hidden = io["mask"].bool()
    fixed(method, hidden)
    known = trimmed_standardized(io["depth_raw"])
    close(known, io["depth_standardised"])
    features = method.encoder(io["image"], hidden, method.token).flatten(2).transpose(1, 2)
    close(features, io["z"])
    shown, asked = method._parts(hidden, torch.zeros(2, dtype=torch.int64))
    context = method.extractor(known, shown, asked, method.encoder)
    places = torch.cat([shown.cells, asked.cells], dim=1)
    close(
        torch.empty_like(context).scatter(1, places[..., None].expand_as(context), context),
        io["depth_features"],
    )
    every = torch.arange(4).expand(2, -1)
    guided = method._guided(features, [known], [shown], every)
    close(guided, io["fused_features"])
    close(method.knowledge_head.paint(guided.transpose(1, 2).unflatten(2, (2, 2))), io["y_rec"])
    losses = method({"image": io["image"], "depth": io["depth_raw"]})
    torch.testing.assert_close(losses["image"], io["image_loss"].view(()), rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["depth"], io["depth_loss"].view(()), rtol=1e-5, atol=0)
    sum(losses.values()).backward()
    gradients = {theirs(name): p.grad for name, p in method.named_parameters()}
    recorded = {n.removeprefix("grad."): t for n, t in io.items() if n.startswith("grad.")}
    assert recorded.keys() <= gradients.keys()
    for name, gradient in recorded.items():
        close_gradient(gradients[name], gradient.view_as(gradients[name]))
    for name, norm in meta["grad_norm_by_parameter"].items():
        if norm > 1e-6:
            torch.testing.assert_close(gradients[name].norm().item(), norm, rtol=1e-4, atol=0)


def test_it_can_also_be_asked_the_other_way_round():
    """The recorded variant shows depth where the image is visible."""
    _, io, method = authors_sgmim()
    method.guidance_mask, hidden = "same", io["mask"].bool()
    shown, _ = method._parts(hidden, torch.zeros(2, dtype=torch.int64))
    features = method.encoder(io["image"], hidden, method.token).flatten(2).transpose(1, 2)
    known, every = trimmed_standardized(io["depth_raw"]), torch.arange(4).expand(2, -1)
    close(method._guided(features, [known], [shown], every), io["variant.fused_features"])


@pytest.mark.parametrize("name", ["vit", "simmim_vit", "swin"])
@pytest.mark.parametrize("extractor", ["mlp", "patch_merge", "conv", "transformer", "siamese"])
@pytest.mark.parametrize("guidance_mask", ["complement", "random", "same"])
def test_the_guidance_never_sees_the_depth_it_is_asked_for(name, extractor, guidance_mask):
    torch.manual_seed(0)
    method = SGMIM(tiny(name), extractor=extractor, guidance_mask=guidance_mask).eval()
    batch = batch_for(method)
    hidden = method.mask(batch["key"])
    shown, asked = method._parts(hidden, batch["key"])
    seen = refine(shown.at(method.encoder.patch), method.encoder.patch)[:, None]
    depth, other = batch["depth"], torch.rand_like(batch["depth"])
    answers = []
    for content in (depth, depth.where(seen, other), depth.where(~seen, other)):
        context = method.extractor(content, shown, None, method.encoder)
        answers.append(context)
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=0)
    assert not torch.allclose(answers[0], answers[2], atol=1e-4)
    if guidance_mask != "random":
        assert not (shown.marked & asked.marked).any()


@pytest.mark.parametrize("name", ["vit", "swin"])
@pytest.mark.parametrize("options", [{}, PAPER_CODE, {"positions": "learned", "fusion_blocks": 2}])
def test_pruning_changes_neither_losses_nor_gradients(name, options):
    """Against the whole computed: all features of the map, all queries, all pixels, then masks."""
    torch.manual_seed(0)
    method = SGMIM(tiny(name), **options)
    batch = batch_for(method)
    pruned = method(batch)
    parameters = list(method.parameters())
    gradients = torch.autograd.grad(sum(pruned.values()), parameters)
    whole = everything(method, batch)
    for name, loss in whole.items():
        torch.testing.assert_close(pruned[name], loss, rtol=1e-5, atol=0)
    for ours, theirs in zip(
        gradients, torch.autograd.grad(sum(whole.values()), parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def everything(method, batch):
    encoder, image = method.encoder, batch["image"]
    hidden = method.mask(batch["key"])
    pixels = refine(hidden, encoder.patch)[:, None].float()
    features = encoder(image, hidden, method.token)
    known = trimmed_standardized(batch["depth"])
    extractor = method.extractor
    embedded = extractor.norm(extractor.embed(known).movedim(1, -1)) * hidden[..., None]
    context = extractor.stages(embedded).flatten(1, 2)
    every = torch.arange(context.shape[1]).expand(2, -1)
    cell = hidden[:, :: encoder.stride // encoder.patch, :: encoder.stride // encoder.patch]
    queries = features.flatten(2).transpose(1, 2)
    if method.keep_hidden:
        guided = method.fusion(queries, every, [(context, every)])
    else:
        part = [c[None] for c in (every[0][cell[i].flatten()] for i in range(2))]
        guided = torch.cat(
            [
                method.fusion(queries[i, None], every[i, None], [(context[i, None][:, p[0]], p)])
                for i, p in enumerate(part)
            ]
        )
    depth = method.knowledge_head.paint(guided.transpose(1, 2).view_as(features))
    painted = method.head.paint(features)
    return {
        "image": ((painted - image).abs() * pixels).sum() / (pixels.sum() + 1e-5) / 3,
        "depth": ((depth - known).abs() * (1 - pixels)).sum() / ((1 - pixels).sum() + 1e-5),
    }


def test_without_weight_on_knowledge_it_is_simmim_to_the_bit():
    """Table 6, 1/0."""
    losses, weights = [], []
    for make in (SimMIM, lambda encoder: SGMIM(encoder, knowledge_weight=0.0)):
        torch.manual_seed(0)
        method = make(tiny("swin"))
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
        for _ in range(3):
            loss = sum(method(batch_for(method)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss)
        weights.append(method.state_dict())
    assert torch.equal(*losses)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_weights_of_the_losses_weigh():
    losses = []
    for options in ({}, {"image_weight": 2.0, "knowledge_weight": 0.1}):
        torch.manual_seed(0)
        method = SGMIM(tiny("vit"), **options)
        losses.append(method(batch_for(method)))
    plain, weighed = losses
    torch.testing.assert_close(weighed["image"], 2.0 * plain["image"])
    torch.testing.assert_close(weighed["depth"], 0.1 * plain["depth"])


@pytest.mark.parametrize("options, sees_places", [({}, True), (PAPER_CODE, False)])
def test_only_positions_let_the_fusion_tell_places_apart(options, sees_places):
    torch.manual_seed(0)
    fusion = SGMIM(tiny("vit"), **options).fusion
    features, context = torch.randn(1, 5, 48), torch.randn(1, 7, 48)
    cells, places = torch.arange(5)[None], torch.arange(7)[None]
    moved = torch.randperm(7)
    one = fusion(features, cells, [(context, places)])
    other = fusion(features, cells, [(context[:, moved], places)])
    assert torch.allclose(one, other, atol=1e-5) != sees_places


def test_holes_in_the_map_are_neither_seen_nor_asked():
    torch.manual_seed(0)
    method = SGMIM(tiny("swin"))
    batch = batch_for(method)
    holes = torch.rand_like(batch["depth"]) < 0.3
    depth = batch["depth"].masked_fill(holes, torch.nan)
    losses = method(batch | {"depth": depth})
    assert losses["depth"].isfinite()
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())
    nothing = method(batch | {"depth": torch.full_like(depth, torch.nan)})
    assert nothing["depth"] == 0


def test_a_square_that_cuts_cells_of_the_feature_map_is_refused():
    with pytest.raises(ConfigurationError, match="the nearest mask_size is 32"):
        SGMIM(tiny("swin"), mask_size=16)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"fusion_heads": 0}, "1 fusion blocks of 0 heads guide nothing: ask for 1 or more"),
        ({"fusion_blocks": 0}, "0 fusion blocks of 8 heads guide nothing: ask for 1 or more"),
        ({"mlp_ratio": -0.5}, "mlp_ratio is 0, .* or more, not -0.5"),
    ],
)
def test_a_guidance_without_parts_is_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        SGMIM(tiny("swin"), **options)


def test_positions_and_tokens_of_the_guidance_are_spared_weight_decay_too():
    method = SGMIM(tiny("swin"), extractor="transformer", positions="learned")
    spared = method.no_decay()
    assert "fusion.position" in spared
    tables = {name for name, _ in method.named_parameters() if "relative_position" in name}
    assert len(tables) == 10 and tables <= spared
    assert not any(name.endswith("qkv.weight") for name in spared)
