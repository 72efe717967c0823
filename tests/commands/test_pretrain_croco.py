"""CroCo as a user runs it: on scenes, on pairs of files, and what comes of it."""

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from shell import FEW, SCENES, sgmim

ENCODER = (
    "--encoder.name=croco_vit_tiny_patch16",
    "--encoder.image_size=32",
    "--encoder.options={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 3}",
)
CROCO = (
    *("pretrain", "croco", *ENCODER, *FEW, "--method.decoder_depth=1"),
    *("--method.decoder_width=32", "--method.decoder_heads=4"),
)


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("stereo"), np.random.default_rng(0)
    for camera in ("left", "right"):
        (folder / "street" / camera).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "street" / camera / f"{number}.png")
    return folder


def test_what_it_has_learnt_is_fine_tuned_for_depth(tmp_path, capsys):
    assert sgmim(*CROCO, *SCENES, f"--run={tmp_path / 'croco'}") == 0
    assert "24 pairs with classes, depth, normals" in capsys.readouterr().out
    depth = ("finetune", "depth", "--head.width=8", *FEW, *SCENES)
    assert sgmim(*depth, f"--init={tmp_path / 'croco'}", f"--run={tmp_path / 'depth'}") == 0
    with safe_open(tmp_path / "depth" / "encoder.safetensors", "pt") as file:
        assert "100.0% of the parameters" in file.metadata()["started_from"]


def test_without_pairs_it_says_how_to_come_by_them(stereo, tmp_path, capsys):
    folder = stereo / "street" / "left"
    assert sgmim(*CROCO, f"--data.images={folder}", f"--run={tmp_path}") == 2
    assert "--data.pairs" in capsys.readouterr().err
    assert sgmim(*CROCO, f"--data.pairs={folder}", f"--run={tmp_path}") == 65
    assert "there are no pairs in" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_it_learns_from_two_cameras(stereo, tmp_path, workers):
    more = ("--batches.colors=croco", "--batches.crop=window", f"--batches.workers={workers}")
    rotary = ("--encoder.name=rotary_vit_tiny_patch16", "--method.positions=rotary")
    run = tmp_path / "run"
    assert sgmim(*CROCO, *rotary, *more, f"--data.pairs={stereo}", f"--run={run}") == 0
    assert (run / "pictures" / "step_00000004.png").is_file()
    depth = ("finetune", "depth", "--head.width=8", *FEW, "--data.scenes=8", "--data.scene_size=64")
    larger = ("--encoder.image_size=64", f"--init={run}", f"--run={tmp_path / 'depth'}")
    assert sgmim(*depth, *larger) == 0
