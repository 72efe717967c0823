"""Datasets in their real formats, every head, every family of encoders: trained, stopped, gone on
with, scored and shown by the commands that a user gives."""

import json

import pytest
import yaml
from torch.testing import assert_close

import trees
from shell import handed_over, sgmim

ENCODERS = {
    "vit": ("vit_tiny_patch16_224", "{embed_dim: 48, depth: 4, num_heads: 3}"),
    "simmim_vit": ("simmim_vit_tiny_patch16", "{embed_dim: 48, depth: 4}"),
    "swin": ("swin_tiny_patch4_window7_224", "{embed_dim: 24, depths: [1, 1, 1, 1]}"),
    "swinv2": ("swinv2_tiny_window8_256", "{embed_dim: 24, depths: [1, 1, 1, 1]}"),
}
MIXED = ("--head.width=16", "--head.mixing_layers=1")
SMALL = {  # heads, as small as they go
    "bins": (*MIXED, "--head.bins=8", "--head.layers=2", "--head.heads=2"),
    "deconv": ("--head.filters=8", "--head.width=8"),
    "dpt": ("--head.width=16",),
    "idisc": (*MIXED, "--head.representations=4", "--head.representation_width=16"),
    "linear": (),
    "sff": ("--head.width=8",),
    "upernet": ("--head.width=16", "--head.auxiliary_width=8"),
}
DEPTH_ONLY = {"bins", "idisc"}
FEW = (
    "--device=cpu",
    "--training.steps=2",
    "--training.batch=2",
    "--training.save_every=1",
    "--training.pictures_every=0",
    "--training.precision=fp32",
    "--training.lr=1e-3",
    "--batches.crop=window",
)
TRIED = [  # by default; the rest is slow
    ("kitti", "deconv", "swinv2"),
    ("kitti", "bins", "swin"),
    ("nyu", "dpt", "vit"),
    ("sensor", "sff", "swinv2"),
    ("ade20k", "upernet", "swin"),
    ("camvid", "upernet", "simmim_vit"),
]
ALL = [
    (dataset, head, encoder)
    for head in SMALL
    for encoder in ENCODERS
    for dataset in ("kitti", "nyu", "ade20k")
    if not (dataset == "ade20k" and head in DEPTH_ONLY)
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """For each dataset the task, and what a user says of it."""
    root = tmp_path_factory.mktemp("datasets")
    kitti = trees.kitti(root / "kitti")
    nyu = trees.nyu_labeled(root / "nyu", size=(120, 160))
    ade20k = trees.ade20k(root / "ade20k", size=(72, 96))
    camvid, sensor = trees.camvid(root / "camvid"), trees.sensor(root / "sensor")
    return {
        "kitti": ("depth", "kitti", kitti, "test", "--task.max_depth=80", "--task.region=garg"),
        "nyu": ("depth", "nyu", nyu, "test", "--batches.short_side=64", "--test.short_side=64"),
        "sensor": ("depth", sensor, sensor.parent, "test"),
        "ade20k": ("segmentation", "ade20k", ade20k, "val", "--inference.mode=slide"),
        "camvid": ("segmentation", camvid, camvid.parent, "val", "--task.classes=11"),
    }


def words(dataset, head, encoder):
    """What 'sgmim finetune' is told."""
    task, name, root, split, *more = dataset
    backbone, options = ENCODERS[encoder]
    return (
        "finetune",
        task,
        f"--encoder.name={backbone}",
        "--encoder.image_size=[64, 64]",
        f"--encoder.options={options}",
        f"--head.name={head}",
        *SMALL[head],
        *FEW,
        f"--data.dataset={name}",
        f"--data.root={root}",
        f"--test.dataset={name}",
        f"--test.root={root}",
        f"--test.split={split}",
        "--partial",
        *more,
        *(("--encoder.window=2",) if encoder.startswith("swin") else ()),
    )


def try_all(dataset, head, encoder, run, capsys):
    """Train, stop before the last step is saved, go on, and score twice."""
    told = words(dataset, head, encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgmim.runs.draw", _interrupt)
        assert sgmim(*told, f"--run={run}") == 130
    capsys.readouterr()
    assert sgmim(*told, f"--run={run}") == 0
    assert "going on from" in capsys.readouterr().out
    record, again = run / "scores.json", run / "again.json"
    test = [word for word in told if word.startswith(("--test.", "--partial"))]
    assert sgmim("evaluate", dataset[0], run, *test, f"--json={again}") == 0
    assert scores(again) == scores(record)
    assert yaml.safe_load((run / "config.yaml").read_text())["head"]["name"] == head
    return told


def scores(record):
    return json.loads(record.read_text())["scores"]


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("dataset, head, encoder", TRIED)
def test_it_is_trained_goes_on_where_it_stopped_and_is_scored(
    dataset, head, encoder, datasets, tmp_path, capsys
):
    try_all(datasets[dataset], head, encoder, tmp_path / "run", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("dataset, head, encoder", ALL)
def test_every_head_on_every_encoder_goes_on_to_the_same_weights_to_the_bit(
    dataset, head, encoder, datasets, tmp_path, capsys
):
    told = try_all(datasets[dataset], head, encoder, tmp_path / "stopped", capsys)
    assert sgmim(*told, f"--run={tmp_path / 'straight'}") == 0
    ours, theirs = handed_over(tmp_path / "stopped"), handed_over(tmp_path / "straight")
    assert_close(ours, theirs, rtol=0, atol=0)
