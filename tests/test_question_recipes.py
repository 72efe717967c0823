"""What guidance is measured against is trained as it is, and differs in the method alone."""

import pytest

from recipe_book import built, flat, loaded
from sgmim.guidance.asked import Ask
from sgmim.methods.multitask import MultiTask

DEMOS = ("demo_multitask", "demo_unmasked")


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_differs_from_sg_mim_s_in_method_alone(name):
    ours, theirs = flat(name), flat("demo_sgmim")
    shared = {key for key in theirs if not key.startswith(("method", "pretrain"))}
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


@pytest.mark.parametrize("name", DEMOS)
def test_edges_take_the_place_of_depth_by_an_option(name):
    what, config = loaded(name, "--method.maps={edges: {}}")
    method = built(config, "pretrain", what)
    assert isinstance(method, MultiTask)
    assert [each.name for each in method.maps] == ["edges"]
    assert method.needs == ("image", "edges")


def test_unmasked_is_the_same_with_nothing_hidden():
    ours, theirs = flat("demo_unmasked"), flat("demo_multitask")
    told = {key: ours[key] for key in ours if ours[key] != theirs[key]}
    assert told == {"method.mask_ratio": 0.0, "method.mask_size": 32}


def test_one_asks_where_sg_mim_asks_and_hides_as_much():
    ours, guided = (
        built(loaded(name)[1], "pretrain", what)
        for name, what in (("demo_multitask", "multitask"), ("demo_sgmim", "sgmim"))
    )
    assert ours.where == "visible" and guided.guidance_mask == "complement"
    assert (ours.mask.count, ours.mask.size) == (guided.mask.count, guided.mask.size)
    assert ours.maps[0].options == Ask(target="map", loss="auto", weight=1.0, standardize_eps=1e-6)
