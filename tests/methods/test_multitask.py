"""Maps are predicted from the image alone, where it is said, with SG-MIM's targets and losses."""

import pytest
import torch
from torch.testing import assert_close

from conftest import TINY, batch_for, tiny
from sgmim.errors import ConfigurationError, DataError
from sgmim.guidance import Guide
from sgmim.guidance.asked import Ask
from sgmim.losses import trimmed_standardized
from sgmim.masking import only, refine
from sgmim.methods.multitask import MultiTask
from sgmim.methods.sgmim import SGMIM
from toys import trained

MANY = {
    "depth": Ask(confidence="edges"),
    "normals": Ask(weight=0.5),
    "classes": Ask(classes=5),
    "fast": Ask(weight=0.0),
}


def made(encoder="vit", **options):
    torch.manual_seed(0)
    return MultiTask(tiny(encoder), **options).eval()


def pixels(method, hidden):
    """Where patches are, pixel by pixel, as (b, 1, H, W)."""
    return refine(hidden, method.encoder.patch)[:, None]


@pytest.mark.parametrize(
    "encoder, ratio", [*((encoder, 0.6) for encoder in TINY), ("vit", 0.0), ("swin", 0.0)]
)
def test_nothing_of_a_map_is_ever_seen(encoder, ratio):
    method = made(encoder, mask_ratio=ratio, maps=MANY)
    batch = batch_for(method)
    other = batch | {name: batch[name].flip(2, 3) for name in MANY}
    one, two = method.pictures(batch), method.pictures(other)
    answers = [name for name in one if name.endswith(("predicted", "painted"))]
    assert len(answers) == 3 + bool(ratio)
    for name in answers:
        assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("encoder", ["vit", "swin"])
@pytest.mark.parametrize("where", ["visible", "hidden", "all"])
def test_a_map_counts_where_it_is_said_to_and_nowhere_else(encoder, where):
    method = made(encoder, where=where)
    batch = batch_for(method)
    target = trimmed_standardized(batch["depth"])
    hidden = method.mask(batch["key"])
    counts = {"visible": ~hidden, "hidden": hidden, "all": torch.ones_like(hidden)}[where]
    answer = method.pictures(batch)["depth, predicted"]
    assert_close(answer.isfinite(), pixels(method, counts))
    assert_close(method(batch)["depth"], (answer - target).abs().nanmean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ["vit", "swin"])
def test_unmasked_it_sees_every_pixel_and_is_asked_for_all_of_the_map(encoder):
    method = made(encoder, mask_ratio=0.0)
    batch = batch_for(method, size=1)
    losses = method(batch | {"image": batch["image"].requires_grad_()})
    (gradient,) = torch.autograd.grad(losses["depth"], batch["image"])
    assert losses.keys() == {"depth"}
    assert (gradient != 0).all()
    answer = method.map_heads["depth"].paint(method.encoder(batch["image"]))
    error = (answer - trimmed_standardized(batch["depth"])).abs().mean()
    assert_close(losses["depth"], error, rtol=1e-5, atol=1e-6)


def test_unmasked_it_learns_and_leaves_no_parameter_without_gradient():
    method = made("swin", mask_ratio=0.0, maps=MANY).train()
    losses = trained(method, batch_for(method), steps=4, lr=2e-3)
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_the_image_is_painted_as_simmim_paints_it():
    method = made(image_weight=0.5)
    batch = batch_for(method)
    hidden, painted = method.mask(batch["key"]), method.head.paint
    answer = painted(method.encoder(batch["image"], hidden, method.token))
    error = only((answer - batch["image"]).abs(), hidden).nanmean()
    assert_close(method(batch)["image"], 0.5 * error, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, told", [("depth", {}), ("normals", {}), ("classes", {"classes": 5}), ("edges", {})]
)
def test_a_map_is_as_wrong_as_to_sg_mim_which_asks_where_this_does(name, told):
    guided = SGMIM(tiny("swin"), guides={name: Guide(**told)}).eval()
    method = made("swin", maps={name: Ask(**told)})
    batch = batch_for(method)
    batch[name][:, :, 8:40, 5:50] = torch.nan
    guide, asked = guided.guides[0], method.maps[0]
    cells = method._cells(method._hidden(batch))
    features = torch.randn(2, cells.shape[1], method.encoder.dim)
    ours = asked.wrong(
        method.map_heads[name], features, asked.seen(batch, asked.wanted), None, cells
    )
    theirs = guide.loss(method.map_heads[name], features, guide.view(batch), cells)
    assert_close(ours, theirs, rtol=0, atol=0)
    _, where = guided._parts(guided.mask(batch["key"]), batch["key"])
    assert_close(where.cells, cells, rtol=0, atol=0)


def test_a_hole_counts_nowhere_and_a_map_of_holes_is_no_harm():
    method = made(maps={"depth": Ask(), "edges": Ask()})
    batch = batch_for(method)
    batch["edges"][:] = torch.nan
    losses = method(batch)
    sum(losses.values()).backward()
    assert losses["edges"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize(
    "options, told",
    [
        ({"maps": {}}, "no map is asked for"),
        ({"maps": {"depth": Ask(weight=0.0)}}, "no map is asked for"),
        ({"where": "hidden", "mask_ratio": 0.0}, "nothing is hidden"),
        ({"maps": {"image": Ask()}}, "'image' is no map"),
        ({"maps": {"classes": Ask()}}, "--method.maps '{classes: {classes: 150}}'"),
    ],
)
def test_what_asks_for_nothing_or_does_not_go_together_is_refused(options, told):
    with pytest.raises(ConfigurationError, match=told):
        made(**options)


def test_ids_of_classes_that_there_are_not_are_refused():
    method = made(maps={"classes": Ask(classes=3)})
    with pytest.raises(DataError, match="ids from 0 to 4"):
        method.warnings(batch_for(method))
