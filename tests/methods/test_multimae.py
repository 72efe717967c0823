"""MultiMAE is the authors' MultiMAE, shows no more than it says, and takes any map."""

import torch
from torch.nn import functional as F

from conftest import close, close_gradient, golden, official
from sgmim.dirichlet import Dealt
from sgmim.encoders import make_encoder
from sgmim.layers import patches, sincos
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
        return {f"{place}.attention.{k}.{kind}": part for k, part in zip("kv", value.chunk(2))}
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
    decoder = {"decoder_dim": 16, "decoder_blocks": 1, "decoder_heads": 4}
    method = MultiMAE(encoder, maps=maps, **decoder, **options)
    weights = ours_of(official("multimae")["model"])
    tensors = dict(method.named_parameters()) | dict(method.named_buffers())
    with torch.no_grad():
        for name, value in weights.items():
            ours = entry(tensors, name)
            if name.endswith("positions"):
                value = resized(value, method.encoder.grid, "bilinear")
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
    parameters = dict(method.named_parameters())
    for name, norm in meta["grad_norm_by_parameter"].items():
        shape = official("multimae")["model"][name].shape
        parts = ours_of({name: torch.zeros(shape)})
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
    _, io, method = authors(size=96, positions="encoder")
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
