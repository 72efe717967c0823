"""A score is called by a protocol's name only where it was made by that protocol."""

import inspect

import pytest

from sgmim.errors import ConfigurationError
from sgmim.inference import Inference
from sgmim.options import find
from sgmim.protocols import PROTOCOLS, named, protocol, settings
from sgmim.request import read
from sgmim.sources import make_source
from sgmim.tasks.classification_metrics import ClassificationMeter
from sgmim.tasks.depth_metrics import DepthMeter
from sgmim.tasks.segmentation_metrics import SegmentationMeter

TABLES = {  # recipes of the paper's tables, and the protocol that their scores are made by
    "kitti_swinv2_base": "kitti_mimd",
    "kitti_vit_base": "kitti_mimd",
    "nyu_vit_base": "nyu_multimae",
    "nyu_full_swinv2_base": "nyu_full",
    "ade20k_swinv2_base": "ade20k_slide",
    "imagenet_simmim_swin_base_100ep": "imagenet_center",
    "imagenet_mae_vit_base_probe": "imagenet_center",
    "imagenet_kamim_vit_base": "imagenet_whole",
}


def meter(task, score):
    meters = {
        "depth": lambda: DepthMeter(**score),
        "segmentation": lambda: SegmentationMeter(classes=150),
        "classification": lambda: ClassificationMeter(classes=1000),
    }
    return meters[task]()


def made_by(name, **other):
    """The settings of a score that was made by a protocol; but for some."""
    p = PROTOCOLS[name]
    made = meter(p.task, p.score).protocol() | {
        "inference": Inference(**p.inference).protocol() | {"size": list(p.size or (40, 56))},
        "images_found": p.images,
    }
    return settings(p.test, made, drawn=p.drawn) | other


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_was_made_by_a_protocol_has_its_name_asked_for_or_not(name):
    assert named(made_by(name)) == named(made_by(name), asked=name) == name


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_was_made_otherwise_says_in_which_points(name):
    assert named(made_by(name, flip=None), name) == (
        f"as {name} but flip None ({PROTOCOLS[name].inference['flip']})"
    )
    fewer = named(made_by(name, images=7), name)
    assert fewer == f"as {name} but images 7 ({PROTOCOLS[name].images})"


def test_unasked_it_is_called_by_the_nearest_on_the_same_data():
    assert named(made_by("kitti_mimd", flip=False)) == "as kitti_mimd but flip False (True)"
    asked = named(made_by("kitti_mimd"), asked="kitti_bts")
    assert asked.startswith("as kitti_bts but ") and "region_frame kb (full)" in asked
    hundred = named(made_by("nyu_multimae", drawn=(100, 0), images=100))
    assert hundred == "nyu_multimae_100"


def test_an_option_of_the_reader_makes_a_difference_its_default_does_not():
    plain = made_by("kitti_mimd", options=None)
    assert named(plain) == "kitti_mimd"  # the crop is the reader's default
    whole = made_by("kitti_mimd", options={"crop": "none"})
    assert named(whole) == "as kitti_mimd but crop none (kb)"


def test_exchanged_truth_and_scaled_predictions_never_go_by_a_published_name():
    assert "exchange depth (None)" in named(made_by("kitti_mimd", exchange="depth"))
    assert "scaling median (none)" in named(made_by("kitti_mimd", scaling="median"))


def test_data_of_ones_own_have_no_published_protocol():
    own = made_by("kitti_mimd", dataset=None)
    assert named(own).startswith("none that is published")
    described = made_by("kitti_mimd", dataset="mine.yaml", options=None)
    assert named(described).startswith("none that is published")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_speaks_of_options_that_there_are(name):
    p = PROTOCOLS[name]
    meter(p.task, p.score), Inference(**p.inference)
    assert p.test.keys() <= inspect.signature(make_source).parameters.keys()
    reader = inspect.signature(find("data.datasets", p.test["dataset"])).parameters
    assert (p.test["options"] or {}).keys() <= reader.keys()
    assert p.title and p.origin and protocol(name, p.task) is p


def test_a_protocol_of_another_task_is_refused():
    with pytest.raises(ConfigurationError, match="no protocol for depth 'ade20k_slide'"):
        protocol("ade20k_slide", "depth")


@pytest.mark.parametrize("recipe", TABLES)
def test_scores_of_the_papers_recipes_are_made_by_the_papers_protocols(recipe):
    task, config = read("finetune", "tasks", "task", [f"--recipe={recipe}"])
    own = {
        name: config.task[name] for name in PROTOCOLS[TABLES[recipe]].score if name in config.task
    }
    size = config.encoder.image_size
    made = meter(task, own).protocol() | {
        "inference": Inference(**config.inference.as_dict()).protocol() | {"size": [size, size]},
        "images_found": PROTOCOLS[TABLES[recipe]].images,
    }
    assert named(settings(config.test.as_dict(), made)) == TABLES[recipe]
