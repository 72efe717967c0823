"""SG-MIM with visible patches is SG-MIM's guidance around MAE, and keeps the promises of both."""

import pytest
import torch

from conftest import batch_for, fixed, tiny
from sgmim.errors import ConfigurationError
from sgmim.guidance import Guide
from sgmim.layers import tokens
from sgmim.losses import trimmed_standardized
from sgmim.masking import refine
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.sgmim_visible import VisibleSGMIM

LIGHT = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 4}
TWO = {"guides": {"depth": Guide(), "edges": Guide()}}
SEVERAL = [{}, TWO, TWO | {"share": "partition"}, {"extractor": "conv"}]
VITS = pytest.mark.parametrize("name", ["vit", "simmim_vit"])


def visible(name, **options):
    torch.manual_seed(0)
    return VisibleSGMIM(tiny(name), **LIGHT | options).eval()


def pixels(method, batch):
    """Which pixels are hidden."""
    return refine(method.mask(batch["key"]), method.encoder.patch)[:, None]


def altered(values, where):
    return values.where(~where, torch.rand_like(values))


@VITS
@pytest.mark.parametrize("options", SEVERAL)
def test_nothing_depends_on_hidden_pixels_but_what_is_wanted(name, options):
    method = visible(name, **options)
    batch = batch_for(method)
    other = batch | {"image": altered(batch["image"], pixels(method, batch))}
    one, two = method.pictures(batch), method.pictures(other)
    named = [name for name in one if name != "image"]
    for name in named:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True)
    assert method(batch)["depth"] == method(other)["depth"]
    assert method(batch)["image"] != method(other)["image"]


@VITS
@pytest.mark.parametrize("options", SEVERAL)
def test_the_guidance_is_shown_a_map_only_where_the_image_is_hidden(name, options):
    method = visible(name, **options)
    batch, said = batch_for(method), "depth, predicted"
    asked = ~pixels(method, batch)
    depth = trimmed_standardized(batch["depth"])  # alike for both: no map is scaled by the rest
    batch |= {"depth": depth}
    answers = []
    for content in (depth, altered(depth, asked), altered(depth, ~asked)):
        seen = method._seen(batch)
        views = [each.view(batch) for each in method.guides]
        views[0] = views[0]._replace(given=content)
        guided = method._guided(seen, views, method._shares(seen, batch))
        answers.append(guided)
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=0)
    assert not torch.allclose(answers[0], answers[2], atol=1e-5)
    assert method.pictures(batch)[said].isfinite().eq(asked).all()


def test_the_image_is_painted_without_knowledge_of_the_map():
    method = visible("vit")
    batch = batch_for(method)
    other = batch | {"depth": torch.rand_like(batch["depth"])}
    assert method(batch)["image"] == method(other)["image"]
    assert method(batch)["depth"] != method(other)["depth"]


@VITS
def test_the_losses_are_the_paper_s_formulas_on_what_it_shows(name):
    method = visible(name)
    batch = batch_for(method)
    pictures, losses = method.pictures(batch), method(batch)
    hidden = pixels(method, batch).float()
    error = (pictures["image, painted"] - batch["image"]).abs() * hidden
    torch.testing.assert_close(losses["image"], error.sum() / hidden.sum() / 3)
    known = trimmed_standardized(batch["depth"])
    error = (pictures["depth, predicted"].nan_to_num() - known).abs() * (1 - hidden)
    torch.testing.assert_close(losses["depth"], error.sum() / (1 - hidden).sum())


def test_it_hides_what_sgmim_hides_and_its_guidance_is_sgmim_s():
    """Given the same features of visible patches, the answers are the same."""
    torch.manual_seed(0)
    whole, own, batch = SGMIM(tiny("vit")), visible("vit"), batch_for(visible("vit"))
    hidden = whole.mask(batch["key"])
    assert torch.equal(hidden, own.mask(batch["key"]))
    parts = ("extractor", "fusion", "knowledge_head")
    for part in parts:
        getattr(own, part).load_state_dict(getattr(whole, part).state_dict())
    features = torch.randn(2, 48, 4, 6)
    whole.encoder.forward = lambda image, hidden, token: features
    own.encoder.mix = lambda known, rows: torch.cat(
        [known[:, :1], tokens(features).gather(1, own_cells(rows))], dim=1
    )
    torch.testing.assert_close(own(batch)["depth"], whole(batch)["depth"])


def own_cells(rows, dim=48):
    return (rows[:, 1:] - 1)[..., None].expand(-1, -1, dim)


def test_without_weight_on_knowledge_there_is_no_guidance():
    method = visible("vit", knowledge_weight=0.0)
    batch = batch_for(method)
    assert method.needs == ("image",)
    assert method({"image": batch["image"], "key": batch["key"]}).keys() == {"image"}
    assert not hasattr(method, "fusion")


def test_the_weights_of_the_losses_weigh():
    plain, weighed = visible("vit"), visible("vit", image_weight=2.0, knowledge_weight=0.1)
    batch = batch_for(plain)
    one, other = plain(batch), weighed(batch)
    torch.testing.assert_close(other["image"], 2.0 * one["image"])
    torch.testing.assert_close(other["depth"], 0.1 * one["depth"])


def test_holes_in_the_map_are_neither_seen_nor_asked():
    method = visible("vit").train()
    batch = batch_for(method)
    depth = batch["depth"].masked_fill(torch.rand_like(batch["depth"]) < 0.3, torch.nan)
    losses = method(batch | {"depth": depth})
    sum(losses.values()).backward()
    assert losses["depth"].isfinite()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
    assert method(batch | {"depth": torch.full_like(depth, torch.nan)})["depth"] == 0


def test_it_takes_images_of_any_channels_and_squares_of_any_size():
    method = VisibleSGMIM(tiny("vit", channels=4), mask_size=16, **LIGHT)
    batch = batch_for(method)
    assert sum(method(batch).values()).isfinite()
    assert fixed(method, method.mask(batch["key"]))(batch)["image"].isfinite()


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("swinv2", {}, "SG-MIM with visible patches has the encoder .* its windows need all"),
        ("vit", {"decoder_heads": 5}, "a decoder of 1 blocks, 32 channels and 5 heads is none"),
        ("vit", {"fusion_heads": 5}, "5 fusion heads do not divide 48 channels"),
        ("vit", {"mask_size": 24}, "squares of 24 pixels do not tile"),
    ],
)
def test_what_cannot_be_is_refused(name, options, said):
    with pytest.raises(ConfigurationError, match=said):
        visible(name, **options)
