"""Every recipe is one that can be run, and says which score of which paper it is for."""

import re
import shlex

import pytest
from jsonargparse import Namespace
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

from recipe_book import IMAGENET, ROOMS, built, command_of, first_lines, flat, loaded
from sgmim.errors import ConfigurationError
from sgmim.guidance import Guide
from sgmim.methods.sgmim import PAPER_CODE
from sgmim.optim import make_optimizer
from sgmim.options import recipes
from sgmim.plan import Plan
from sgmim.request import read
from sgmim.sources import make_source
from sgmim.weighting import Weights

EPOCH = IMAGENET // 1024
VISIBLE = "sgmim_visible_"  # another method, see test_mae_recipes
TO_PRETRAIN = sorted(
    name
    for name in recipes()
    if name.startswith(("sgmim_", "simmim_")) and not name.startswith(VISIBLE)
)
KINDS = {"vit": Beit, "swin": SwinTransformer, "swinv2": SwinTransformerV2}
# Of no paper: SG-MIM's recipe for Swin-B with other knowledge.
BEYOND = [
    f"sgmim_swin_base_100ep_{what}" for what in ("keypoints", "depth_edges", "points", "classes")
]

BASE, LONG = "sgmim_swin_base_100ep", "sgmim_swin_base_800ep"
LONGER = {
    "training.epochs": 800.0,
    "training.lr": 1e-4,
    "training.warmup_lr": 5e-7,
    "training.schedule": "multistep",
}
VIT = {
    "encoder.name": "simmim_vit_base_patch16",
    "encoder.image_size": 224,
    "encoder.window": None,
    "encoder.drop_path": 0.1,
}
SWIN_V2 = {
    "encoder.name": "swinv2_base_window12_192",
    "encoder.window": 12,
    "encoder.drop_path": 0.1,
}
DIFFERENCES = {  # from the recipe that it is compared with: all there are
    f"{BASE}_random": (BASE, {"method.guidance_mask": "random"}),
    f"{BASE}_ratio50": (BASE, {"method.mask_ratio": 0.5}),
    f"{BASE}_ratio70": (BASE, {"method.mask_ratio": 0.7}),
    f"{BASE}_weight01": (BASE, {"method.knowledge_weight": 0.1}),
    f"{BASE}_weight001": (BASE, {"method.knowledge_weight": 0.01}),
    f"{BASE}_weight0": (BASE, {"method.knowledge_weight": 0.0}),
    f"{BASE}_transformer": (BASE, {"method.extractor": "transformer"}),
    f"{BASE}_siamese": (BASE, {"method.extractor": "siamese"}),
    f"{BASE}_paper_code": (
        BASE,
        {f"method.{name}": value for name, value in PAPER_CODE.items()}
        | {"optimizer.exclude": "official"},
    ),
    f"{BASE}_keypoints": (
        BASE,
        {f"method.weights.{name}": value for name, value in vars(Weights(normalize="mean")).items()}
        | {"data.live": {"fast": "device"}},
    ),
    f"{BASE}_depth_edges": (
        BASE,
        {"method.guides": {name: Namespace(**vars(Guide())) for name in ("depth", "edges")}}
        | {"data.live": {"edges": "device"}},
    ),
    f"{BASE}_points": (BASE, {"method.extractor": "pointnet", "method.target": "coordinates"}),
    f"{BASE}_classes": (
        BASE,
        {"method.guides": {"classes": Namespace(**vars(Guide(classes=133)))}},
    ),
    LONG: (BASE, LONGER),
    "sgmim_vit_base_800ep": (LONG, VIT),
    "sgmim_swinv2_base_100ep": (BASE, SWIN_V2),
    "sgmim_swinv2_base_800ep": (LONG, SWIN_V2),
}


@pytest.mark.parametrize("name", recipes())
def test_its_first_lines_say_paper_command_cost_and_score(name):
    title, said = first_lines(name)
    assert list(said)[:4] == ["paper", "command", "cost", "expect"]
    assert re.match(r"# [A-Z].+\w", title)
    assert f"--recipe {name}" in said["command"]
    if name in BEYOND:
        assert said["expect"] == "unknown, no paper has it"
    elif name in TO_PRETRAIN:
        assert re.search(r"Table \d, rows? ", title)
        assert "arXiv 2409.02513" in said["paper"]
        assert re.search(r"RMSE .*\d\.\d\d", said["expect"])


@pytest.mark.parametrize("name", TO_PRETRAIN)
def test_it_builds_what_it_is_called_after(name):
    what, config = loaded(name)
    model = built(config, command_of(name), what)
    kind = next(kind for word, kind in KINDS.items() if f"_{word}_" in name)
    assert type(model.encoder.backbone) is kind
    assert model.encoder.dim == (768 if kind is Beit else 1024)
    assert what == name.split("_")[0]
    Plan(**config.training.as_dict())
    assert make_optimizer(model, lr=1.0, **config.optimizer.as_dict())


@pytest.mark.parametrize("name", TO_PRETRAIN)
def test_its_command_is_one(name):
    """As it stands there, with places that need not exist before it is run."""
    words = shlex.split(first_lines(name)[1]["command"])
    assert words[:7] == shlex.split("torchrun --nproc_per_node 8 -m -- sgmim pretrain")
    what, config = read("pretrain", *ROOMS["pretrain"], words[7:])
    assert str(config.data.images) == "IMAGES"
    model = built(config, "pretrain", what)
    computed = {"image", "camera", *(config.data.live or ())}
    assert set(config.data.maps or ()) == set(model.needs) - computed


@pytest.mark.parametrize("name", TO_PRETRAIN)
def test_scenes_never_stand_in_for_images_that_were_forgotten(name):
    _, config = loaded(name)
    assert make_source(**config.data.as_dict()) is None


@pytest.mark.parametrize("name", DIFFERENCES)
def test_it_differs_from_what_it_is_compared_with_in_nothing_else(name):
    other, expected = DIFFERENCES[name]
    ours, theirs = flat(name), flat(other)
    changed = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert {key: ours.get(key) for key in changed} == expected


@pytest.mark.parametrize("name", [name for name in TO_PRETRAIN if name.startswith("simmim_")])
def test_simmim_is_trained_as_sgmim_is(name):
    ours, theirs = flat(name), flat(name.replace("simmim", "sgmim"))
    shared = {key for key in ours if not key.startswith(("method", "pretrain"))}
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert ours["method.mask_ratio"] == theirs["method.mask_ratio"] == 0.6


@pytest.mark.parametrize("name", TO_PRETRAIN)
def test_its_rates_are_those_of_the_paper_s_batch(name):
    """lr = base * 1024 / 512: 4e-4 for 100 epochs, 2e-4 for 800."""
    plan = Plan(**loaded(name)[1].training.as_dict())
    schedule, steps = plan.schedule_for(IMAGENET), plan.length(IMAGENET)
    short = "100ep" in name
    assert steps == (100 if short else 800) * EPOCH
    assert plan.rate == pytest.approx(4e-4 if short else 2e-4)
    assert schedule(0) == pytest.approx(2e-6 if short else 1e-6)
    if short:
        assert schedule(steps) == pytest.approx(2e-5)
    else:
        assert schedule(10 * EPOCH) == schedule(700 * EPOCH - 1) == pytest.approx(2e-4)
        assert schedule(700 * EPOCH) == schedule(steps - 1) == pytest.approx(2e-5)


def test_a_line_that_is_no_option_is_refused(tmp_path):
    file, text = tmp_path / "mistyped.yaml", recipes()[BASE].read_text(encoding="utf-8")
    file.write_text(text.replace("mask_ratio", "mask_ration"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"mask_ration .*did you mean .*mask_ratio"):
        read("pretrain", *ROOMS["pretrain"], [f"--recipe={file}"])
