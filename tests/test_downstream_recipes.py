"""The recipes of Tables 1 to 4: each is one that can be run, as its score was made."""

import json

import pytest
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer

from recipe_book import built, first_lines, loaded
from sgmim.data.crops import random_window
from sgmim.encoders import make_encoder
from sgmim.encoders.files import initialize, save_encoder
from sgmim.errors import ConfigurationError
from sgmim.inference import Inference
from sgmim.optim import groups
from sgmim.options import recipes
from sgmim.plan import Plan
from sgmim.protocols import PROTOCOLS, named, settings
from sgmim.sources import make_source

KITTI, NYU, ALL_NYU, ADE20K = 23_158, 795, 24_231, 20_210  # images to train on
DOWNSTREAM = sorted(n for n in recipes() if n.startswith(("kitti_", "nyu_", "ade20k_")))
ALIKE = [  # head, loss, augmentation, schedule and test of MIM-Depth-Estimation
    "kitti_swin_base", "kitti_vit_base", "kitti_plain_vit_base", "kitti_swinv2_base",
]  # fmt: skip
BACKBONES = {
    "plain_vit": VisionTransformer, "vit": Beit, "swin": SwinTransformer,
    "swinv2": SwinTransformerV2,
}  # fmt: skip
OF_ADAMW_OR_LARS = ("name", "betas", "eps", "momentum", "trust")
SMALL_SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
SMALL = {
    "swin": SMALL_SWIN,
    "swinv2": SMALL_SWIN,
    "vit": {"embed_dim": 32, "depth": 2, "num_heads": 2},
}


@pytest.mark.parametrize("name", DOWNSTREAM)
def test_its_first_lines_name_the_rows_and_the_scores(name):
    title, said = first_lines(name)
    assert "Table " in title or "no row" in title
    assert any(metric in said["expect"] for metric in ("RMSE", "delta1", "mIoU"))
    assert "0.1" not in said["cost"] and said["cost"].startswith("estimate: ")


@pytest.mark.parametrize("name", DOWNSTREAM)
def test_it_builds_the_encoder_and_the_head_of_its_row(name):
    what, config = loaded(name)
    task = built(config, "finetune", what)
    kind = next(kind for kind in ("plain_vit", "vit", "swinv2", "swin") if f"_{kind}_" in name)
    assert type(task.encoder.backbone) is BACKBONES[kind]
    assert what == ("segmentation" if name.startswith("ade20k_") else "depth")
    Plan(**config.training.as_dict())
    spread = groups(task, **without(config.optimizer.as_dict(), *OF_ADAMW_OR_LARS))
    named = [name for group in spread for name, _ in group["params"]]
    learning = {name for name, p in task.named_parameters() if p.requires_grad}
    assert len(named) == len(set(named)) and set(named) == learning


def without(options, *names):
    return {name: value for name, value in options.items() if name not in names}


@pytest.mark.parametrize("name", DOWNSTREAM)
def test_it_asks_for_its_dataset_before_anything_else(name):
    for part in ("data", "test"):
        options = loaded(name)[1][part].as_dict()
        assert options["dataset"] == name.partition("_")[0]
        with pytest.raises(ConfigurationError, match="Give its folder as root"):
            make_source(**options)


PROTOCOL = {"nyu_full_swinv2_base": "nyu_full", "nyu": "nyu_multimae", "ade20k": "ade20k_slide"}


@pytest.mark.parametrize("name", [n for n in DOWNSTREAM if not n.endswith(("_bins", "_idisc"))])
def test_its_score_is_made_as_published(name):
    what, config = loaded(name)
    task = built(config, "finetune", what)
    called = PROTOCOL.get(name) or PROTOCOL.get(name.partition("_")[0], "kitti_mimd")
    shown = Inference(**config.inference.as_dict()).protocol()
    made = task.meter().protocol() | {
        "inference": shown | {"size": task.encoder.image_size},
        "images_found": PROTOCOLS[called].images,
    }
    assert named(settings(config.test.as_dict(), made)) == called


@pytest.mark.parametrize("name", ALIKE)
def test_depth_on_kitti_follows_the_rates_of_mim_depth_estimation(name):
    plan = Plan(**loaded(name)[1].training.as_dict())
    schedule = plan.schedule_for(KITTI)
    assert plan.length(KITTI) == 24_100
    rates = {1: 3.01e-5, 964: 8.02e-5, 5784: 2.819e-4, 11568: 5e-4, 17352: 2.481e-4, 23136: 3e-5}
    assert {step: schedule(step - 1) for step in rates} == pytest.approx(rates, rel=2e-3)
    assert schedule(24_099) == 3e-5


@pytest.mark.parametrize("name", ALIKE)
def test_depth_on_kitti_differs_in_the_encoder_and_how_layers_learn_alone(name):
    ours, theirs = (vars(loaded(each)[1].as_flat()) for each in (name, ALIKE[0]))
    own = ("encoder", "optimizer.layer_decay", "optimizer.merge_as_layer", "recipe")
    shared = [key for key in ours if not key.startswith(own)]
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


def test_layers_of_swinv2_learn_at_the_rates_of_mim_depth_estimation():
    what, config = loaded("kitti_swinv2_base")
    found = groups(
        built(config, "finetune", what), **without(config.optimizer.as_dict(), *OF_ADAMW_OR_LARS)
    )
    scales = {group["lr_scale"] for group in found}
    assert min(scales) == pytest.approx(0.9**28) and max(scales) == 1 and len(scales) == 29


@pytest.mark.parametrize("name", [n for n in DOWNSTREAM if not n.startswith("ade20k_")])
def test_depth_is_learnt_from_pieces_that_are_not_resized_but_to_the_short_side(name):
    _, config = loaded(name)
    height, width = (352, 1216) if name.startswith("kitti_") else (480, 640)
    size = config.encoder.image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    side = config.batches.short_side
    pieces = [random_window(key, height, width, size, side) for key in range(50)]
    cut_from = {(piece.crop.height, piece.crop.width) for piece in pieces}
    scale = side / height if side else 1
    assert cut_from == {tuple(round(length / scale) for length in size)}
    assert {piece.size for piece in pieces} == {size}
    assert len({piece.crop.left for piece in pieces}) > 20


def test_nyu_s_few_images_are_seen_for_as_long_as_multimae_sees_them():
    plan = Plan(**loaded("nyu_vit_base")[1].training.as_dict())
    schedule = plan.schedule_for(NYU)
    assert plan.length(NYU) == 12_000
    assert schedule(600) == pytest.approx(1e-4) and schedule(11_999) < 1e-10
    assert Plan(**loaded("nyu_full_swinv2_base")[1].training.as_dict()).length(ALL_NYU) == 25_225


@pytest.mark.parametrize("name", [n for n in DOWNSTREAM if n.startswith("ade20k_")])
def test_segmentation_follows_mmsegmentation(name):
    _, config = loaded(name)
    schedule = Plan(**config.training.as_dict()).schedule_for(ADE20K)
    assert schedule(1500) == pytest.approx(1e-4, rel=1e-2) and schedule(159_999) == 0
    assert schedule(80_750) == pytest.approx(5e-5, rel=1e-2)
    assert config.task.classes == 150 and config.batches.crop == "jitter"
    assert config.inference.as_dict() | {"short": 512, "stride": 341, "mode": "slide"} == (
        config.inference.as_dict()
    )


@pytest.mark.parametrize("name", ["kitti_swin_base", "kitti_vit_base", "kitti_swinv2_base"])
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
