"""MultiMAE is the authors' MultiMAE, shows no more than it says, and takes any map."""

import pytest
import torch
from torch.nn import functional as F

from conftest import batch_for, close, close_gradient, golden, official, tiny
from sgmim.dirichlet import Dealt
from sgmim.encoders import make_encoder
from sgmim.errors import ConfigurationError, DataError
from sgmim.layers import patches, sincos
from sgmim.masking import refine
from sgmim.memory import activations
from sgmim.methods.multimae import MultiMAE
from sgmim.modalities import MapOptions

NAMES = {"rgb": "image", "depth": "depth", "semseg": "classes", "norm_rgb": "normalized_image"}
RENAMED = {  # of an output adapter, theirs to ours
    "proj_context": "project",
    "out_proj": "head",
    "decoder_transformer": "blocks",
    "decoder.q": "attention.q",
    "decoder.proj": "attention.proj",
    "mask_token": "token",
}


def ours_of(weights):
    """The authors' weights under our names."""
    found = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if name == "global_tokens":
            found["encoder.backbone.cls_token"] = value
        elif part == "encoder":
            found[f"encoder.backbone.blocks.{rest}"] = value
        elif name.startswith("input_adapters.rgb.proj"):
            found[f"encoder.backbone.patch_embed.{rest.removeprefix('rgb.')}"] = value
        elif part == "input_adapters" and not name.endswith("pos_emb"):
            task, _, rest = rest.partition(".")
            rest = rest.replace("class_emb", "embedding").replace("proj.", "project.")
            found[f"inputs.{NAMES[task]}.{rest}"] = value
        elif part == "output_adapters":
            found |= of_output(*rest.split(".", 1), value)
    return found


def of_output(task, name, value):
    place = f"outputs.{NAMES[task]}"
    if name == "pos_emb":
        return {f"{place}.positions": value[0].flatten(1).T}
    if name.startswith("task_embeddings."):
        row = list(NAMES).index(name.removeprefix("task_embeddings."))
        return {f"{place}.origin[{row}]": value.flatten()}
    if name.startswith("decoder.kv"):
        kind = name.rpartition(".")[2]
        return {
            f"{place}.attention.{k}.{kind}": part
            for k, part in zip("kv", value.chunk(2), strict=True)
        }
    for theirs, ours in RENAMED.items():
        if name.startswith(theirs):
            name = name.replace(theirs, ours)
            break
    return {f"{place}.{name}": value}


def entry(tensors, name):
    name, _, row = name.partition("[")
    return tensors[name][int(row[:-1])] if row else tensors[name]


def authors(size=64, **options):
    """Everything they computed, and their weights in our method."""
    meta, io = golden("multimae")
    config = meta["config"]
    shape = {"embed_dim": config["dim_tokens"], "depth": config["depth"], "num_heads": 4}
    encoder = make_encoder("multimae_vit_base_patch16", image_size=size, options=shape)
    classes = MapOptions(classes=config["num_classes"], class_dim=config["dim_class_emb"])
    maps = {"depth": MapOptions(), "classes": classes}
    decoder = {"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 4}
    method = MultiMAE(encoder, maps=maps, **decoder, **options)
    weights = ours_of(official("multimae")["model"])
    tensors = dict(method.named_parameters()) | dict(method.named_buffers())
    with torch.no_grad():
        for name, value in weights.items():
            ours = entry(tensors, name)
            if name.endswith("positions"):
                value = resized(value, method.encoder.grid, "bilinear")
                assert size != 64 or torch.allclose(ours, value, rtol=0, atol=1e-6)
            ours.copy_(value.view_as(ours))
    filled = {name.partition("[")[0] for name in weights} | {"encoder.backbone.pos_embed"}
    assert filled >= dict(method.named_parameters()).keys()
    return meta, io, method


def resized(positions, grid, mode):
    """Positions of a 4 x 4 grid (n, d), as the authors make another size of them."""
    table = positions.T.unflatten(1, (4, 4))[None]
    return F.interpolate(table, size=grid, mode=mode, align_corners=False)[0].flatten(1).T


def replayed(method, io, start=""):
    """The method with their masks in place of its own."""
    hidden = torch.stack([io[f"{start}mask.{name}"].bool() for name in list(NAMES)[:3]], dim=1)
    count = int((~hidden[0]).sum())
    rows = hidden.flatten(1).byte().sort(dim=1, stable=True).indices[:, :count]
    method.mask.forward = lambda keys: Dealt(rows, hidden)
    return rows


def batch_of(io, start=""):
    ids = io[f"{start}semseg"].float()[:, None]
    depth = io["depth_raw"] if not start else io[f"{start}depth"]
    classes = F.interpolate(ids, scale_factor=4.0)
    return {"image": io[f"{start}rgb"], "depth": depth, "classes": classes}


def painted(method, values, rows):
    """Everything it paints, as the authors lay it out."""
    found = {}
    for each, squares in method._painted(values, rows):
        columns = method.encoder.grid[1]
        folded = squares.transpose(1, 2).unflatten(2, (-1, columns))
        found[each.title] = F.pixel_shuffle(folded, each.side)
    return found


def test_predictions_losses_and_gradients_are_the_authors():
    meta, io, method = authors()
    rows, batch = replayed(method, io), batch_of(io)
    values = method._values(batch)
    close(values[1], io["depth"])
    close(method._encoded(values, rows)[1][:, 0], io["encoder_global_token"])
    for name, picture in painted(method, values, rows).items():
        theirs = next(task for task, ours in NAMES.items() if ours == name)
        close(picture, io[f"pred.{theirs}"])
    losses = method(batch)
    for theirs, name in NAMES.items():
        torch.testing.assert_close(losses[name], io[f"loss.{theirs}"], rtol=1e-5, atol=0)
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    theirs = {n.removeprefix("grad."): g for n, g in io.items() if n.startswith("grad.")}
    compared = ours_of(theirs)
    assert len(compared) == len(theirs) + 1  # keys and values are one tensor of theirs
    for name, gradient in compared.items():
        ours = entry(gradients, name)
        close_gradient(ours, gradient.view_as(ours))
    weights = official("multimae")["model"]
    for name, norm in meta["grad_norm_by_parameter"].items():
        parts = ours_of({name: weights[name]})
        ours = torch.stack([entry(gradients, part).norm() for part in parts]).norm()
        torch.testing.assert_close(ours.item(), norm, rtol=1e-4, atol=1e-6)


def test_the_loss_can_be_on_all_patches():
    _, io, method = authors(loss_on="all")
    replayed(method, io)
    losses = method(batch_of(io))
    for theirs, name in NAMES.items():
        torch.testing.assert_close(losses[name], io[f"loss_unmasked.{theirs}"], rtol=1e-5, atol=0)


def test_on_larger_images_their_resized_positions_give_their_predictions():
    """Ours are made for a size, theirs resized: the input's bicubic, but bilinear for classes."""
    _, io, method = authors(size=96, positions="learned")
    table = sincos((4, 4), 48, rows_first=True)
    usual, linear = (resized(table, (6, 6), mode) for mode in ("bicubic", "bilinear"))
    with torch.no_grad():
        method.encoder.backbone.pos_embed[0, 0] = 0
        method.encoder.backbone.pos_embed[0, 1:] = usual
    shift = (linear - usual).view(6, 6, 48)
    method.inputs["classes"].register_forward_hook(lambda _, given, patches: patches + shift)
    rows, batch = replayed(method, io, "resized."), batch_of(io, "resized.")
    values = method._values(batch)
    values[1] = io["resized.depth"]  # is standardized already
    found = painted(method, values, rows)
    close(found["depth"], io["resized.pred.depth"])
    close(found["classes"], io["resized.pred.semseg"])


def test_an_image_of_which_nothing_is_asked_has_no_error_and_a_gradient():
    """The authors leave it out of the mean over images, and its gradient is NaN."""
    _, io, method = authors()
    depth, scaled = (
        next(e for e in method.asked if e.title == t) for t in ("depth", "normalized_image")
    )
    hidden = io["criterion.mask"].bool()
    for each, values, name in ((depth, io["depth"], "depth"), (scaled, io["rgb"], "norm_rgb")):
        squares = patches(io[f"pred.{name}"], 16).requires_grad_()
        loss = each.loss(squares, values, hidden)
        theirs = io[f"criterion.loss.{name}"]
        torch.testing.assert_close(2 * loss, theirs, rtol=1e-5, atol=0)  # the mean of 2, not of 1
        loss.backward()
        assert squares.grad.isfinite().all() and not squares.grad[0].any() and squares.grad[1].any()


# What is ours.

MAPS = {
    "depth": MapOptions(),
    "normals": MapOptions(weight=0.5),
    "edges": MapOptions(loss="ssi"),
    "fast": MapOptions(),
    "classes": MapOptions(classes=5, class_dim=8),
}
LIGHT = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 4}


def made(encoder="vit", maps=MAPS, **options):
    torch.manual_seed(0)
    return MultiMAE(tiny(encoder), maps=maps, **LIGHT | options)


def shuffled_where(hidden, values):
    """The same numbers, but for each map those of hidden patches in another order: so what is
    known of the map as a whole, its mean and deviation, stays."""
    flat, where = values.flatten(2).clone(), hidden.flatten(1)
    for image, of_it in zip(flat, where, strict=True):
        order = torch.randperm(int(of_it.sum()))
        image[:, of_it] = image[:, of_it][:, order]
    return flat.view_as(values)


@pytest.mark.parametrize("encoder", ["vit", "simmim_vit"])
def test_nothing_it_paints_depends_on_hidden_patches_of_any_map(encoder):
    method = made(encoder)
    batch = batch_for(method)
    dealt, other = method.mask(batch["key"]), dict(batch)
    for place, name in enumerate(method.needs):
        hidden = refine(method.mask.at(dealt.hidden[:, place]), method.encoder.patch)
        other[name] = shuffled_where(hidden, batch[name])
        assert not torch.equal(other[name], batch[name])
    one, two = (dict(method._painted(method._values(each), dealt.rows)) for each in (batch, other))
    for asked, painted in one.items():
        torch.testing.assert_close(painted, two[asked], rtol=0, atol=0)


def test_what_is_visible_of_every_map_matters_to_every_answer():
    method = made(alpha=50.0)
    batch = batch_for(method)
    dealt = method.mask(batch["key"])
    assert (~dealt.hidden).any(dim=2).all()  # some of every map, in these images
    one = dict(method._painted(method._values(batch), dealt.rows))
    for name in method.needs:
        other = batch | {name: batch[name].flip(3)}
        two = dict(method._painted(method._values(other), dealt.rows))
        assert all(not torch.equal(painted, two[asked]) for asked, painted in one.items())


def test_the_loss_asks_nothing_of_what_is_visible():
    method = made(maps={"depth": MapOptions(standardize=False)})
    batch = batch_for(method)
    visible = ~method.mask(batch["key"]).hidden
    values = method._values(batch)
    for place, each in enumerate(method.asked[:2]):
        painted = patches(values[place], 16).requires_grad_()
        each.loss(painted, values[place] + 1, ~visible[:, place]).backward()
        moved = painted.grad.abs().sum(dim=2) > 0
        assert torch.equal(moved, ~visible[:, place])


def test_holes_in_maps_are_no_harm_and_ask_nothing():
    method = made()
    batch = batch_for(method)
    for name in MAPS:
        batch[name][0, :, 8:40, 5:50] = torch.nan
        batch[name][1] = torch.nan  # nothing is known
    losses = method(batch)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
    alone = method({name: tensor[:1] for name, tensor in batch.items()})
    for name in MAPS:
        torch.testing.assert_close(losses[name], alone[name] / 2)


def test_a_map_of_weight_0_is_shown_and_not_asked_for():
    method = made(maps={"depth": MapOptions(weight=0.0), "edges": MapOptions()})
    assert set(method.outputs) == {"image", "edges", "normalized_image"}
    assert "depth" in method.inputs and "depth" in method.needs
    batch = batch_for(method)
    assert {"depth", "depth, hidden"} <= (pictures := method.pictures(batch)).keys()
    assert "depth, painted" not in pictures
    sum(method(batch).values()).backward()
    assert method.inputs["depth"].project.weight.grad.any()


def test_the_pictures_show_what_is_visible_of_every_map_and_the_rest_painted():
    method = made()
    batch = batch_for(method)
    pictures, dealt = method.pictures(batch), method.mask(batch["key"])
    for place, name in enumerate(method.needs):
        hidden = refine(method.mask.at(dealt.hidden[:, place]), method.encoder.patch)[:, None]
        seen, painted = pictures[f"{name}, hidden"], pictures[f"{name}, painted"]
        assert torch.equal(seen.isnan(), hidden.expand_as(seen))
        assert painted.isfinite().all() and torch.equal(
            painted.where(~hidden, torch.nan)[seen.isfinite()], seen[seen.isfinite()]
        )


def test_at_full_size_it_has_the_paper_s_parameters():
    """98.57 M with the fixed positions, of which they keep a table for each map and each way."""
    with torch.device("meta"):
        encoder = make_encoder("multimae_vit_base_patch16", image_size=224)
        maps = {"depth": MapOptions(), "classes": MapOptions(classes=133)}
        method = MultiMAE(encoder, maps=maps)
    learnt = sum(p.numel() for p in method.parameters() if p.requires_grad)
    fixed = 196 * (3 * 768 + 4 * 256)
    assert round((learnt + fixed) / 1e6, 2) == 98.57


def test_a_class_stands_for_a_square_and_an_id_that_there_is_not_for_nothing():
    method = made(maps={"classes": MapOptions(classes=5)})
    batch = batch_for(method)
    batch["classes"][:, :, :4, :8] = 7
    (values,) = (
        v for each, v in zip(method.maps, method._values(batch), strict=True) if each.classes
    )
    assert values.shape == (2, 1, 16, 24) and values[:, :, 0, :2].isnan().all()
    assert torch.equal(values[:, :, 1:], batch["classes"][:, :, 6::4, 2::4])
    assert dict(method.limits) == {"classes": 5}
    with pytest.raises(DataError, match="classes holds ids from 0 to 7"):
        method.warnings(batch)


def test_its_memory_is_told_before_a_step_and_half_precision_will_do():
    method = made(maps={"classes": MapOptions(classes=5)})
    batch = batch_for(method)
    assert activations(method, batch) > 0
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(batch)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    exact = method(batch)
    assert all(
        loss.item() == pytest.approx(exact[n].item(), rel=0.05) for n, loss in losses.items()
    )


def test_tokens_and_embeddings_do_not_decay():
    spared = made().no_decay()
    assert {"encoder.backbone.cls_token", "inputs.classes.embedding.weight"} <= spared
    assert {"outputs.normalized_image.token", "outputs.depth.origin"} <= spared


@pytest.mark.parametrize(
    "maps, said",
    [
        ({"image": MapOptions()}, "'image' is no map"),
        ({"classes": MapOptions()}, r"classes: \{classes: 133\}"),
        ({"depth": MapOptions(loss="cross_entropy")}, "its classes are None"),
        ({"classes": MapOptions(classes=5, loss="l1")}, "asked for by l1, and its classes are 5"),
        ({"depth": MapOptions(weight=-1.0)}, "weight is 0 or more"),
        ({"depth": MapOptions(alpha=0.0)}, "above 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(maps, said):
    with pytest.raises(ConfigurationError, match=said):
        made(maps=maps)


def test_asked_for_nothing_it_refuses():
    nothing = {"depth": MapOptions(weight=0.0)}
    with pytest.raises(ConfigurationError, match="asked for nothing"):
        made(maps=nothing, image_weight=0.0, normalized_weight=0.0)


def test_an_encoder_that_needs_all_patches_is_refused():
    with pytest.raises(ConfigurationError, match=r"MultiMAE .* windows need all patches"):
        made("swin")
