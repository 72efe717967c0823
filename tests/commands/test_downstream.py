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
SMALL = {  # heads, as small as they go
    "bins": ("--head.width=16", "--head.queries=8", "--head.layers=2"),
    "deconv": ("--head.filters=8", "--head.width=8"),
    "dpt": ("--head.widths=[8, 8, 8, 8]", "--head.width=16"),
    "idisc": ("--head.width=16",),
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
    ("nyu", "idisc", "swin"),
    ("sensor", "sff", "swinv2"),
    ("ade20k", "upernet", "swin"),
    ("camvid", "upernet", "simmim_vit"),
    ("camvid", "linear", "vit"),
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
    )


def try_all(dataset, head, encoder, tmp_path, capsys):
    task = dataset[0]
    told = words(dataset, head, encoder)
    if head == "sff" or encoder.startswith("swin"):
        told = (*told, "--encoder.window=2")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert sgmim(*told, f"--run={straight}") == 0
    record = json.loads((straight / "scores.json").read_text())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgmim.runs.draw", _interrupt)  # before the last step is saved
        assert sgmim(*told, f"--run={stopped}") == 130
    capsys.readouterr()
    assert sgmim(*told, f"--run={stopped}") == 0
    assert "going on from" in capsys.readouterr().out
    for name, tensor in handed_over(straight).items():
        assert_close(handed_over(stopped)[name], tensor, rtol=0, atol=0, msg=name)

    test = [word for word in told if word.startswith("--test.")]
    again = tmp_path / "again.json"
    assert sgmim("evaluate", task, straight, *test, "--partial", f"--json={again}") == 0
    assert json.loads(again.read_text())["scores"] == record["scores"]
    config = yaml.safe_load((straight / "config.yaml").read_text())
    assert config["head"]["name"] == head


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("dataset, head, encoder", TRIED)
def test_it_is_trained_goes_on_where_it_stopped_and_is_scored(
    dataset, head, encoder, datasets, tmp_path, capsys
):
    try_all(datasets[dataset], head, encoder, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("dataset, head, encoder", ALL)
def test_every_head_on_every_encoder_is_trained_goes_on_and_is_scored(
    dataset, head, encoder, datasets, tmp_path, capsys
):
    try_all(datasets[dataset], head, encoder, tmp_path, capsys)
