"""Every recipe is one that can be run, and says which score of which paper it is for."""

import json
import re
import shlex
from functools import cache
from itertools import takewhile

import pytest
import torch
import yaml
from jsonargparse import Namespace
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

from sgmim.commands import finetune
from sgmim.data.crops import random_crop
from sgmim.encoders import make_encoder
from sgmim.encoders.files import initialize, save_encoder
from sgmim.errors import ConfigurationError
from sgmim.guidance import Guide
from sgmim.methods.sgmim import PAPER_CODE
from sgmim.optim import adamw
from sgmim.options import build, recipes
from sgmim.plan import Plan
from sgmim.request import read
from sgmim.sources import make_source
from sgmim.weighting import Weights

ROOMS = {"pretrain": ("methods", "method"), "finetune": ("tasks", "task")}
IMAGENET, KITTI = 1_281_167, 23_158  # images to train on
EPOCH = IMAGENET // 1024
PAPER = sorted(name for name in recipes() if not name.startswith(("demo_", "kamim_")))
ON_KITTI = [name for name in PAPER if name.startswith("kitti_")]
TO_PRETRAIN = [name for name in PAPER if name not in ON_KITTI]
KINDS = {"vit": Beit, "swin": SwinTransformer, "swinv2": SwinTransformerV2}
SMALL_SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
SMALL = {
    "swin": SMALL_SWIN,
    "swinv2": SMALL_SWIN,
    "vit": {"embed_dim": 32, "depth": 2, "num_heads": 2},
}

# Of no paper: SG-MIM's recipe for Swin-B with other knowledge.
# of no paper: with other knowledge
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


def first_lines(name):
    """What a recipe opens with: its first line, then what the others say, by their first word."""
    lines = recipes()[name].read_text(encoding="utf-8").splitlines()
    lines = list(takewhile(lambda line: line.startswith("#"), lines))
    said = [re.match(r"# (\w+): (.+)", line) for line in lines[1:]]
    return lines[0], dict(match.groups() for match in said if match)


def command_of(name):
    (command,) = yaml.safe_load(recipes()[name].read_text(encoding="utf-8")).keys() & ROOMS.keys()
    return command


@cache
def loaded(name, *arguments):
    """What a recipe is for, and its options, as the command reads them."""
    command = command_of(name)
    defaults = finetune.DEFAULTS if command == "finetune" else {}
    return read(command, *ROOMS[command], [f"--recipe={name}", *arguments], **defaults)


def flat(name):
    options = vars(loaded(name)[1].as_flat())
    return {key: value for key, value in options.items() if key != "recipe"}


def built(config, command, what):
    """The objective of a recipe, without weights."""
    room, part = ROOMS[command]
    with torch.device("meta"):
        return build(room, what, make_encoder(**config.encoder.as_dict()), config[part])


@pytest.mark.parametrize("name", recipes())
def test_its_first_lines_say_paper_command_cost_and_score(name):
    title, said = first_lines(name)
    assert list(said)[:4] == ["paper", "command", "cost", "expect"]
    assert re.match(r"# [A-Z].+\w", title)
    assert f"--recipe {name}" in said["command"]
    if name in BEYOND:
        assert said["expect"] == "unknown, no paper has it"
    elif name in PAPER:
        assert re.search(r"Table \d, rows? ", title)
        assert "arXiv 2409.02513" in said["paper"]
        assert re.search(r"RMSE .*\d\.\d\d", said["expect"])


@pytest.mark.parametrize("name", PAPER)
def test_it_builds_what_it_is_called_after(name):
    what, config = loaded(name)
    model = built(config, command_of(name), what)
    kind = next(kind for word, kind in KINDS.items() if f"_{word}_" in name)
    assert type(model.encoder.backbone) is kind
    assert model.encoder.dim == (768 if kind is Beit else 1024)
    assert what == (name.split("_")[0] if name in TO_PRETRAIN else "depth")
    Plan(**config.training.as_dict())
    assert adamw(model, lr=1.0, **config.optimizer.as_dict())


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


@pytest.mark.parametrize("name", ON_KITTI)
def test_depth_on_kitti_follows_the_rates_of_mim_depth_estimation(name):
    plan = Plan(**loaded(name)[1].training.as_dict())
    schedule = plan.schedule_for(KITTI)
    assert plan.length(KITTI) == 24_100
    rates = {1: 3.01e-5, 964: 8.02e-5, 5784: 2.819e-4, 11568: 5e-4, 17352: 2.481e-4, 23136: 3e-5}
    assert {step: schedule(step - 1) for step in rates} == pytest.approx(rates, rel=2e-3)
    assert schedule(24_099) == 3e-5


@pytest.mark.parametrize("name", ON_KITTI)
def test_depth_on_kitti_is_learnt_from_crops_that_are_not_resized(name):
    _, config = loaded(name)
    how = {"scale": config.batches.scale, "ratio": config.batches.ratio}
    crops = [random_crop(key, 352, 1216, **how) for key in range(50)]
    assert {crop[2:4] for crop in crops} == {(config.encoder.image_size,) * 2} == {(352, 352)}
    assert len({crop.left for crop in crops}) > 20


@pytest.mark.parametrize("name", ON_KITTI)
def test_depth_on_kitti_says_what_it_lacks(name):
    title, said = first_lines(name)
    assert "not to be scored yet" in title and "lacks" in said
    assert make_source(**loaded(name)[1].test.as_dict()) is None


@pytest.mark.parametrize("name", ON_KITTI)
def test_depth_on_kitti_starts_from_what_was_pre_trained(name, tmp_path):
    kind = name.removeprefix("kitti_")
    before = loaded(f"sgmim_{kind}_{800 if kind == 'vit_base' else 100}ep")[1].encoder.as_dict()
    small = SMALL[kind.split("_")[0]]
    encoder = make_encoder(**before | {"options": small})
    save_encoder(encoder, tmp_path)
    own = loaded(name)[1].encoder.options or {}
    options = f"--encoder.options={json.dumps(own | small)}"
    tuned = make_encoder(**loaded(name, f"--init={tmp_path}", options)[1].encoder.as_dict())
    report = initialize(tuned, tmp_path)
    assert report.share == 1 and not report.missing and not report.misshapen
    assert tuned.image_size == (352, 352)
    if kind == "swinv2_base":  # positions are counted as they were
        counted = [stage.blocks[0].attn.pretrained_window_size for stage in tuned.backbone.layers]
        assert tuple(map(tuple, counted)) == encoder.windows


def test_a_line_that_is_no_option_is_refused(tmp_path):
    file, text = tmp_path / "mistyped.yaml", recipes()[BASE].read_text(encoding="utf-8")
    file.write_text(text.replace("mask_ratio", "mask_ration"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"mask_ration .*did you mean .*mask_ratio"):
        read("pretrain", *ROOMS["pretrain"], [f"--recipe={file}"])
