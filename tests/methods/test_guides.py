"""Any map guides, and several at once: each by its own loss, and blind to what it is asked for."""

import pytest
import torch
from torch.testing import assert_close

from conftest import TINY, tiny
from sgmim import draws
from sgmim.errors import ConfigurationError, DataError
from sgmim.guidance import Guide
from sgmim.masking import refine
from sgmim.memory import activations
from sgmim.methods.sgmim import PAPER_CODE, SGMIM
from sgmim.pinhole import assumed_camera
from sgmim.weighting import Weights
from toys import trained

CLASSES = {"classes": Guide(classes=5)}
KINDS = {
    "depth and edges": {"guides": {"depth": Guide(), "edges": Guide(weight=0.5)}},
    "normals": {"knowledge": "normals"},
    "classes": {"guides": CLASSES},
    "points": {"extractor": "pointnet", "target": "coordinates"},
    "points, kept": {"extractor": "pointnet", "target": "normals", "hidden_context": "keep"},
    "up to scale and shift": {"loss": "ssi"},
    "dealt out": {
        "guides": {
            "depth": Guide(extractor="pointnet", confidence="sure"),
            "edges": Guide(extractor="conv"),
            "normals": Guide(extractor="transformer"),
        }
        | CLASSES,
        "share": "partition",
        "mask_ratio": 0.7,
    },
    "dealt out, kept": {
        "guides": {"depth": Guide(extractor="siamese"), "edges": Guide(extractor="conv")} | CLASSES,
        "share": "partition",
        "hidden_context": "keep",
        "positions": "learned",
    },
    "weights": {"weights": Weights(of="edges")},
}
EVERYWHERE = ("depth and edges", "normals", "classes", "points")  # the others on Swin alone
ON_ENCODERS = [(name, kind) for name in TINY for kind in KINDS if kind in EVERYWHERE]
ON_ENCODERS += [("swin", kind) for kind in KINDS if kind not in EVERYWHERE]


def batch_for(method, size=2):
    generator = torch.Generator().manual_seed(1)
    height, width = method.encoder.image_size

    def rand(channels):
        return torch.rand(size, channels, height, width, generator=generator)

    camera = assumed_camera(height, width).expand(size, -1)
    return {
        "image": rand(3) * 2 - 1,
        "depth": 1 + rand(1),
        "edges": rand(1),
        "normals": rand(3) - 0.5,
        "classes": (rand(1) * 5).floor(),
        "sure": rand(1),
        "camera": camera,
        "key": torch.arange(size) + 7,
    }


def made(encoder="vit", image_size=(64, 96), **options):
    torch.manual_seed(0)
    return SGMIM(tiny(encoder, image_size=image_size), **options)


def gradients(method, batch):
    losses = method(batch)
    return losses, torch.autograd.grad(sum(losses.values()), list(method.parameters()))


@pytest.fixture(params=KINDS)
def options(request):
    return KINDS[request.param]


@pytest.mark.parametrize("encoder, kind", ON_ENCODERS)
def test_it_learns_and_leaves_no_parameter_without_gradient(encoder, kind):
    method = made(encoder, **KINDS[kind])
    batch = batch_for(method)
    batch = {name: batch[name] for name in (*method.needs, "key")}
    losses = trained(method, batch, steps=3, lr=2e-3)
    assert losses[-1] < losses[0]
    assert not [name for name, p in method.named_parameters() if p.grad is None]


def test_micro_batches_have_the_loss_of_the_batch_and_holes_are_no_harm(options):
    method = made("swin", **options)
    batch = batch_for(method, size=3)
    for name in ("depth", "edges", "normals", "classes", "sure"):
        batch[name][1:, :, 8:40, 5:50] = torch.nan
    whole, one = (
        method(batch),
        [method({n: t[i : i + 1] for n, t in batch.items()}) for i in range(3)],
    )
    for name, loss in whole.items():
        mean = sum(each[name] for each in one) / 3
        assert_close(loss, mean, rtol=1e-5, atol=1e-6)
    sum(whole.values()).backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


def test_its_memory_is_told_before_a_step_and_half_precision_will_do(options):
    method = made("vit", **options)
    batch = batch_for(method)
    assert activations(method, batch) > 0
    with torch.autocast("cpu", torch.bfloat16):
        rounded = method(batch)
    for name, loss in method(batch).items():
        assert_close(rounded[name], loss, rtol=0.05, atol=0)


def test_pictures_show_every_map_and_what_became_of_it(options):
    method = made("swin", **options)
    batch = batch_for(method)
    pictures = method.eval().pictures(batch)
    height, width = method.encoder.image_size
    for each in method.guides:
        names = (each.name, f"{each.name}, shown", f"{each.name}, predicted")
        assert pictures.keys() >= set(names)
    for picture in pictures.values():
        assert picture.shape[1] in (1, 3) and picture.shape[2:] == (height, width)


@pytest.mark.parametrize("encoder", ["simmim_vit", "swin"])
@pytest.mark.parametrize("options", [{}, PAPER_CODE, {"extractor": "conv", "loss": "ssi"}])
def test_one_of_several_is_the_only_one_to_the_bit(encoder, options):
    plain, one = made(encoder, **options), made(encoder, guides={"depth": Guide()}, **options)
    assert plain.state_dict().keys() == one.state_dict().keys()
    assert all(torch.equal(t, one.state_dict()[n]) for n, t in plain.state_dict().items())
    (losses, grads), (others, theirs) = (gradients(m, batch_for(m)) for m in (plain, one))
    assert losses.keys() == others.keys()
    assert all(torch.equal(losses[name], others[name]) for name in losses)
    assert all(torch.equal(*pair) for pair in zip(grads, theirs, strict=True))


def test_what_a_guide_leaves_out_is_as_the_method_s_keywords_have_it():
    guides = {"depth": Guide(), "edges": Guide(extractor="mlp", weight=0.25)}
    method = made("swin", guides=guides, extractor="conv", loss="ssi", knowledge_weight=2.0)
    depth, edges = (each.options for each in method.guides)
    assert (depth.extractor, depth.loss, depth.weight) == ("conv", "ssi", 2.0)
    assert (edges.extractor, edges.loss, edges.weight) == ("mlp", "ssi", 0.25)


def test_a_map_without_weight_is_left_out():
    method = made(guides={"depth": Guide(), "edges": Guide(weight=0.0)})
    assert method.needs == ("image", "depth")
    assert method.state_dict().keys() == made().state_dict().keys()


def test_weights_weigh_each_map_s_loss():
    one, other = (made(guides={"depth": Guide(weight=w), "edges": Guide()}) for w in (1.0, 0.1))
    one, other = one(batch_for(one)), other(batch_for(other))
    assert_close(other["depth"], 0.1 * one["depth"])
    assert torch.equal(other["edges"], one["edges"])


@pytest.mark.parametrize("portions", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
@pytest.mark.parametrize("guidance_mask", ["complement", "random", "same"])
def test_hidden_squares_are_dealt_out_whole_and_once(portions, guidance_mask):
    names = ("depth", "edges", "normals")
    guides = {n: Guide(portion=p) for n, p in zip(names, portions, strict=True)}
    options = {"share": "partition", "guidance_mask": guidance_mask, "image_size": (128, 160)}
    method = made(guides=guides, **options)
    drawn = torch.arange(40)
    shown, _ = method._parts(method.mask(drawn), drawn)
    shares = method._shares(shown, drawn)
    marked = torch.stack([share.marked for share in shares]).int()
    assert torch.equal(marked.sum(dim=0), shown.marked.int())  # disjoint, and all of them
    counts = [share.squares.shape[1] for share in shares]
    exact = [shown.squares.shape[1] * portion / sum(portions) for portion in portions]
    assert all(abs(count - wish) < 1 for count, wish in zip(counts, exact, strict=True))
    for share, count in zip(shares, counts, strict=True):
        assert (share.marked.sum(dim=(1, 2)) == count).all()
        places = share.marked.flatten(1).float().topk(count).indices.sort(dim=1).values
        assert torch.equal(places, share.squares)
    assert len({tuple(row.flatten().tolist()) for row in shares[0].marked}) > 20
    alone = method._shares(method._parts(method.mask(drawn[3:4]), drawn[3:4])[0], drawn[3:4])
    assert torch.equal(alone[1].marked[0], shares[1].marked[3])


def test_every_square_is_dealt_to_every_map_alike_often():
    method = made(guides={"depth": Guide(), "edges": Guide()}, share="partition")
    drawn = torch.tensor([draws.key(0, number) for number in range(4000)])
    shown, _ = method._parts(method.mask(drawn), drawn)
    first, second = (share.marked.float().mean(dim=0) for share in method._shares(shown, drawn))
    assert (first - second).abs().max() < 0.05


EXTRACTORS = ["mlp", "patch_merge", "conv", "transformer", "siamese", "pointnet"]


@pytest.mark.parametrize("name", ["vit", "swin"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("share", ["all", "partition"])
def test_no_map_is_seen_where_it_is_not_shown(name, extractor, share):
    guides = {"depth": Guide(extractor=extractor), "edges": Guide()}
    method = made(name, guides=guides, share=share, hidden_context="keep").eval()
    batch = batch_for(method)
    drawn = batch["key"]
    hidden = method.mask(drawn)
    shown, asked = method._parts(hidden, drawn)
    shares = method._shares(shown, drawn)
    seen = refine(shares[0].at(method.encoder.patch), method.encoder.patch)[:, None]
    features = torch.randn(2, asked.cells.shape[1] * 3, method.encoder.dim)
    guided = []
    given = [each.view(batch).given for each in method.guides]
    for depth in (given[0], given[0].where(seen, 3.0), given[0].where(~seen, 3.0)):
        guided.append(method._guided(features, [depth, given[1]], shares, asked.cells))
    assert_close(guided[0], guided[1], rtol=0, atol=0)
    assert not torch.allclose(guided[0], guided[2], atol=1e-4)


def test_the_fusion_knows_which_map_it_looks_at():
    """Without their embeddings, two maps with the same features could change places."""
    fusion = made(guides={"depth": Guide(), "edges": Guide()}).fusion
    cells, features = torch.arange(4)[None], torch.randn(1, 4, 48)
    one, other = ((torch.randn(1, 3, 48), torch.arange(3)[None]) for _ in range(2))
    assert not torch.allclose(
        fusion(features, cells, [one, other]), fusion(features, cells, [other, one]), atol=1e-5
    )
    with torch.no_grad():
        fusion.modality.zero_()
    assert_close(fusion(features, cells, [one, other]), fusion(features, cells, [other, one]))
    assert "fusion.modality" in made(guides={"depth": Guide(), "edges": Guide()}).no_decay()


def test_confidence_says_how_much_a_pixel_counts():
    def loss(sure, depth=None):
        method = made(guides={"depth": Guide(confidence="sure")})
        batch = batch_for(method)
        return method(batch | {"sure": sure, **({} if depth is None else {"depth": depth})})[
            "depth"
        ]

    method = made(guides={"depth": Guide(confidence="sure")})
    assert method.needs == ("image", "depth", "sure")
    batch = batch_for(method)
    plain, sure = made()(batch)["depth"], batch["sure"]
    assert_close(loss(torch.full_like(sure, 0.5)), plain)  # the same everywhere says nothing
    assert not torch.allclose(loss(sure), plain, rtol=1e-3)
    wrong = torch.rand_like(sure) < 0.02
    unsure = torch.ones_like(sure).masked_fill(wrong, 0.0)
    assert loss(unsure) != plain
    assert torch.equal(loss(unsure), loss(unsure.masked_fill(wrong, torch.nan)))
    assert loss(torch.zeros_like(sure)) == 0


def test_classes_are_predicted_for_squares_of_four_pixels_and_the_unknown_is_not_asked():
    method = made("swin", guides=CLASSES)
    assert method.knowledge_head.out_features == 5 * 8 * 8
    batch = batch_for(method)
    with torch.no_grad():
        method.knowledge_head.weight.zero_()
        method.knowledge_head.bias.zero_()
    assert_close(method(batch)["classes"], torch.tensor(5.0).log())
    assert method(batch | {"classes": torch.full_like(batch["classes"], torch.nan)})["classes"] == 0
    beyond = batch["classes"].where(batch["classes"] < 4, 250.0)
    unknown = batch["classes"].where(batch["classes"] < 4, torch.nan)
    losses = [method(batch | {"classes": ids})["classes"] for ids in (beyond, unknown)]
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    "ids, said",
    [
        (7.0, "holds ids from 0 to 7, but 5 classes have 0 to 4"),
        (-1.0, "holds ids from -1 to 4, but 5 classes"),
        (0.25, "holds 0.25, which is no id of a class.* --data.scale.classes 1"),
    ],
)
def test_ids_that_are_none_are_told_before_the_first_step(ids, said):
    method = made(guides=CLASSES)
    batch = batch_for(method)
    batch["classes"][:, :, :2] = torch.nan
    assert method.warnings(batch) == []
    batch["classes"][0, 0, 5, 5] = ids
    with pytest.raises(DataError, match=said):
        method.warnings(batch)


def test_normals_are_as_wrong_as_their_angle_says():
    method = made(knowledge="normals")
    batch = batch_for(method)
    method.eval()
    loss = method(batch)["normals"]
    longer = method(batch | {"normals": 3 * batch["normals"]})["normals"]
    assert_close(loss, longer)
    assert 0 < loss < 2
    turned = method(batch | {"normals": -batch["normals"]})["normals"]
    assert turned != loss


def test_weights_of_the_image_s_pixels_are_those_of_simmim():
    from sgmim.methods.simmim import SimMIM

    weights = Weights(of="edges", temperature=0.5)
    method = made(weights=weights)
    assert method.needs == ("image", "depth", "edges")
    torch.manual_seed(0)
    simmim = SimMIM(tiny("vit"), weights=weights)
    batch = batch_for(method)
    assert torch.equal(method(batch)["image"], simmim(batch)["image"])
    assert method(batch)["image"] > made()(batch)["image"]
    assert torch.equal(method(batch)["depth"], made()(batch)["depth"])
    assert method.warnings(batch) == simmim.warnings(batch)


REFUSED = [
    ({"knowledge": "image"}, "'image' is no map that can guide"),
    ({"knowledge": "classes"}, "told how many classes there are"),
    ({"guides": {"depth": Guide(classes=3)}}, "depth is asked for by l1, and its classes are 3"),
    ({"knowledge": "normals", "extractor": "pointnet"}, "points in space are made of depth"),
    ({"channels": 2, "target": "normals"}, "points in space are made of depth"),
    ({"guides": {"depth": Guide(portion=0.0)}}, "the portion of depth is above 0"),
    (
        {"guides": {"depth": Guide(classes=3)}, "loss": "cross_entropy", "target": "normals"},
        "no cl",
    ),
]


@pytest.mark.parametrize("options, said", REFUSED)
def test_what_does_not_go_together_is_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        made(**options)


def test_more_maps_than_squares_are_refused():
    guides = {name: Guide() for name in ("depth", "edges", "normals")} | CLASSES
    method = made(guides=guides, share="partition", mask_ratio=0.5)  # 3 of 6 squares
    with pytest.raises(ConfigurationError, match="3 squares in portions"):
        method(batch_for(method))
