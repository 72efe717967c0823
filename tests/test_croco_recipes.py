"""CroCo's recipe is that of its released weights."""

import shlex

import pytest

from recipe_book import ROOMS, built, first_lines, loaded
from sgmim.errors import ConfigurationError
from sgmim.plan import Plan
from sgmim.request import read
from sgmim.sources import make_source

NAME, PAIRS = "croco_vit_base", 1_821_391
EPOCH = PAIRS // 256


def test_its_command_is_one_and_takes_pairs():
    words = shlex.split(first_lines(NAME)[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 4 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    assert what == "croco" and str(config.data.pairs) == "PAIRS"
    _, config = loaded(NAME)
    assert make_source(**config.data.as_dict()) is None  # no scenes where pairs were forgotten


def test_it_has_the_authors_network():
    method = built(loaded(NAME)[1], "pretrain", "croco")
    assert method.encoder.dim == 768 and not method.encoder.has_class_token
    assert (method.mask.squares, method.mask.count) == (196, 176)
    count = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert count / 1e6 == pytest.approx(120.1, abs=0.05)


def test_its_cosine_is_laid_over_twice_its_epochs():
    plan = Plan(**loaded(NAME)[1].training.as_dict())
    schedule, steps = plan.schedule_for(PAIRS), plan.length(PAIRS)
    assert steps == 400 * EPOCH and plan.rate == pytest.approx(1.5e-4)
    assert schedule(0) == 0 and schedule(40 * EPOCH) == pytest.approx(1.5e-4)
    assert schedule(420 * EPOCH) == pytest.approx(0.75e-4)  # midway from 40 to 800
    assert schedule(800 * EPOCH) == pytest.approx(0, abs=1e-12)


def test_a_schedule_is_not_laid_over_less_than_the_run():
    with pytest.raises(ConfigurationError, match="ends before the 400"):
        Plan(epochs=400.0, laid_over=300.0)
