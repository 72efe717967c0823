import json
import resource
import shutil
import subprocess
import sys
from itertools import count
from pkgutil import resolve_name

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch.testing import assert_close

import sgmim as package
from faults import children
from sgmim import checkpoint
from sgmim.checkpoint import latest
from shell import (
    ENCODER,
    FEW,
    SCENES,
    TINY,
    depth_maps,
    files,
    handed_over,
    log,
    losses,
    photographs,
    sensor,
    sgmim,
)

# what makes it hard to go on exactly: random depth, several micro-batches, a moving average
HARD = ("--encoder.drop_path=0.3", "--training.accumulate=2", "--training.ema=0.9")
SIX = ("--training.steps=6", "--training.save_every=2", "--training.pictures_every=3")


def pretrain(run, *words):
    return sgmim("pretrain", *words, f"--run={run}")


@pytest.fixture(scope="module", params=["simmim", "sgmim"])
def method(request):
    return request.param


@pytest.fixture(scope="module")
def done(method, tmp_path_factory):
    """A run of six steps, straight through."""
    run = tmp_path_factory.mktemp("done") / "run"
    assert pretrain(run, method, *TINY, *SCENES, *HARD, *SIX) == 0
    return run


def test_a_run_leaves_what_it_should(done):
    assert files(done) == [
        "checkpoints/step_00000004.pt",
        "checkpoints/step_00000006.pt",
        "config.yaml",
        "encoder.safetensors",
        "environment.json",
        "log.jsonl",
        "objective.safetensors",
        "pictures/preview.png",
        "pictures/step_00000003.png",
        "pictures/step_00000006.png",
        "report.html",
    ]
    with Image.open(done / "pictures" / "step_00000006.png") as sheet:
        sheet.load()
        assert min(sheet.size) > 300


def test_the_log_says_how_every_step_went(done, method):
    rows = log(done)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    parts = {"image"} if method == "simmim" else {"image", "depth"}
    told = {"step", "time", "loss", "grad_norm", "lr"}
    others = told | {"images_per_second", "waiting", "replaced", "memory"}
    for row in rows:
        assert set(row) == parts | others
        assert row["loss"] == pytest.approx(sum(row[part] for part in parts))
        assert row["images_per_second"] > 0 and 0 <= row["waiting"] <= 1 and row["replaced"] == 0
        assert 0.1 < row["memory"] < 100


def test_speed_is_measured_over_the_steps_since_the_line_before(tmp_path, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("sgmim.log.perf_counter", lambda: next(clock))
    words = (*TINY, *SCENES, "--training.steps=5", "--training.log_every=3")
    assert pretrain(tmp_path, "simmim", *words) == 0
    assert [row["images_per_second"] for row in log(tmp_path)] == [3 * 8, 2 * 8]


def test_its_configuration_is_a_recipe_that_gives_the_same_run(done, tmp_path):
    assert pretrain(tmp_path, f"--recipe={done / 'config.yaml'}") == 0
    assert_close(handed_over(tmp_path), handed_over(done), rtol=0, atol=0)
    ours, theirs = (yaml.safe_load((run / "config.yaml").read_text()) for run in (tmp_path, done))
    assert ours | {"run": None} == theirs | {"run": None}


def test_its_configuration_names_every_option(done, method):
    written = yaml.safe_load((done / "config.yaml").read_text())
    assert written["pretrain"] == method
    assert written["encoder"]["window"] is None and written["data"]["images"] is None
    assert written["training"]["ema"] == 0.9 and written["optimizer"]["betas"] == [0.9, 0.999]


def test_the_encoder_loads_in_plain_timm_and_gives_the_same_features(done):
    with safe_open(done / "encoder.safetensors", "pt") as file:
        header = file.metadata()
    plain = timm.create_model(header["name"], **json.loads(header["options"])).eval()
    plain.load_state_dict(load_file(done / "encoder.safetensors"))
    encoder, report = package.load_encoder(done)
    assert report.share == 1.0 and header["step"] == "6" and header["normalization"] == "imagenet"
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = plain.forward_features(image)[:, 1:]
        assert_close(encoder.eval()(image).flatten(2).mT, tokens, rtol=0, atol=0)


STOPS = [  # what is called, and for which time when the run is stopped
    ("sgmim.training:_backward", 4),
    ("sgmim.runs:Log.write", 5),
    ("sgmim.checkpoint:write_whole", 2),
    ("sgmim.checkpoint.saving:save_encoder", 1),
    ("sgmim.runs:safetensors.torch.save", 1),
]


@pytest.mark.parametrize("place, time", STOPS)
def test_a_stopped_run_goes_on_to_the_same_weights(
    done, method, tmp_path, monkeypatch, place, time
):
    call, times = resolve_name(place), count(1)

    def interrupted(*args, **options):
        if next(times) == time:
            raise KeyboardInterrupt
        return call(*args, **options)

    words = (method, *TINY, *SCENES, *HARD, *SIX)
    with monkeypatch.context() as patch:
        patch.setattr(place.replace(":", "."), interrupted)
        assert pretrain(tmp_path, *words) == 130
    assert pretrain(tmp_path, *words) == 0
    assert_close(handed_over(tmp_path), handed_over(done), rtol=0, atol=0)
    assert losses(tmp_path) == losses(done)
    assert [row["step"] for row in log(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_run_stopped_again_and_again_ends_with_the_same_weights(done, method, tmp_path):
    write = checkpoint.write

    def write_and_stop(*args, **options):
        write(*args, **options)
        raise KeyboardInterrupt

    for done_by_now in (2, 4, 6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sgmim.checkpoint.write", write_and_stop)
            assert pretrain(tmp_path, method, *TINY, *SCENES, *HARD, *SIX) == 130
        assert latest(tmp_path).step == done_by_now
    assert pretrain(tmp_path, method, *TINY, *SCENES, *HARD, *SIX) == 0
    assert_close(handed_over(tmp_path), handed_over(done), rtol=0, atol=0)


def test_a_finished_run_is_left_as_it_is(done, method, tmp_path, capsys):
    words = (method, *TINY, *SCENES, "--training.steps=2")
    assert pretrain(tmp_path, *words) == 0
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    assert pretrain(tmp_path, *words) == 0
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    assert "going on from" in capsys.readouterr().out


def test_a_torn_line_of_the_log_does_not_spoil_the_next(tmp_path):
    words = ("simmim", *TINY, *SCENES, "--training.save_every=1")
    assert pretrain(tmp_path, *words) == 0
    (tmp_path / "checkpoints" / "step_00000004.pt").unlink()
    text = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(text[:-20])
    assert pretrain(tmp_path, *words) == 0
    assert [row["step"] for row in log(tmp_path)] == [1, 2, 3, 4]


def test_a_changed_option_is_refused_with_what_differs_and_nothing_is_touched(tmp_path, capsys):
    words = ("sgmim", *TINY, *SCENES)
    assert pretrain(tmp_path, *words) == 0
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    assert pretrain(tmp_path, *words, "--method.mask_ratio=0.5", "--seed=3") == 2
    said = capsys.readouterr().err
    assert "method.mask_ratio (0.6 then, 0.5 now)" in said and "seed (0 then, 3 now)" in said
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_what_does_not_bear_on_the_result_may_change(tmp_path):
    words = ("simmim", *TINY, *SCENES)
    assert pretrain(tmp_path, *words) == 0
    others = ("--training.log_every=7", "--training.keep=1", "--license=mit", "--batches.workers=1")
    assert pretrain(tmp_path, *words, *others) == 0


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path, capsys):
    assert pretrain(tmp_path / "run", "sgmim", *TINY, *SCENES, "--dry-run") == 0
    said = capsys.readouterr().out
    assert files(tmp_path) == []
    for part in ("vit_tiny_patch16_224", "24 images with classes, depth", "4 of 8", "MiB", "0.001"):
        assert part in said


@pytest.fixture
def photos(tmp_path):
    return photographs(tmp_path / "photos")


def test_images_of_all_kinds_are_fine(tmp_path, photos):
    assert pretrain(tmp_path / "run", "simmim", *TINY, f"--data.images={photos}") == 0
    assert log(tmp_path / "run")[-1]["replaced"] == 0


def test_depth_of_a_sensor_with_holes_guides(tmp_path, photos):
    words = sensor(photos, depth_maps(tmp_path / "depth", photos))
    assert pretrain(tmp_path / "run", "sgmim", *TINY, *words) == 0
    for row in log(tmp_path / "run"):
        assert 0 < row["depth"] < 10 and 0 < row["grad_norm"] < 100


def test_edges_made_on_the_way_guide_as_stored_ones_do(tmp_path, photos):
    assert sgmim("knowledge", "edges", photos, tmp_path / "edges") == 0
    words = ("sgmim", *TINY, f"--data.images={photos}", "--method.knowledge=edges")
    assert pretrain(tmp_path / "live", *words, "--data.live={edges: image}") == 0
    assert pretrain(tmp_path / "stored", *words, f"--data.maps.edges={tmp_path / 'edges'}") == 0
    live, stored = (losses(tmp_path / run, "image", "edges") for run in ("live", "stored"))
    assert_close(live, stored, rtol=1e-3, atol=1e-3)


def test_a_map_of_several_channels_guides(tmp_path):
    words = ("--method.knowledge=normals", "--method.channels=3")
    assert pretrain(tmp_path, "sgmim", *TINY, *SCENES, *words) == 0
    assert log(tmp_path)[-1]["normals"] > 0


def test_channels_that_a_map_does_not_have_are_refused_before_the_first_step(tmp_path, capsys):
    assert pretrain(tmp_path / "run", "sgmim", *TINY, *SCENES, "--method.channels=2") == 2
    assert "depth (1, 32, 32)" in capsys.readouterr().err
    assert files(tmp_path) == []


def test_a_few_broken_images_are_borne_even_among_those_that_are_drawn(tmp_path, photos):
    (photos / "color.jpg").write_bytes((photos / "color.jpg").read_bytes()[:99])
    words = (*TINY, f"--data.images={photos}", "--batches.broken_share=0.2")
    assert pretrain(tmp_path / "run", "simmim", *words) == 0
    assert log(tmp_path / "run")[-1]["replaced"] == 1


def test_an_encoder_goes_on_from_another_run_at_its_own_options(tmp_path, done):
    words = ("simmim", f"--init={done}", "--method.mask_size=8", *FEW, *SCENES)
    assert pretrain(tmp_path, *words) == 0
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())["encoder"]
    assert written["options"]["depth"] == 2 and written["image_size"] == [32, 32]


def test_a_recipe_may_say_what_to_start_from(tmp_path, done):
    recipe = {"pretrain": "simmim", "init": str(done), "encoder": {"image_size": 48}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ("--method.mask_size=8", *FEW, *SCENES)
    assert pretrain(tmp_path / "run", f"--recipe={tmp_path / 'recipe.yaml'}", *words) == 0
    encoder, _ = package.load_encoder(tmp_path / "run")
    assert encoder.image_size == (48, 48) and encoder.dim == 48


def test_a_swin_goes_on_at_another_size_with_windows_that_fit(tmp_path):
    swin = ("--encoder.name=swin_tiny_patch4_window7_224", "--encoder.image_size=64")
    shape = "--encoder.options={embed_dim: 24, depths: [1, 1, 1, 1], num_heads: [1, 2, 2, 2]}"
    words = ("simmim", "--method.mask_size=32", *FEW, *SCENES)
    assert pretrain(tmp_path / "first", *words, *swin, shape) == 0
    recipe = {"pretrain": "simmim", "encoder": {"image_size": 96}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    more = (f"--recipe={tmp_path / 'recipe.yaml'}", f"--init={tmp_path / 'first'}")
    assert pretrain(tmp_path / "second", *words, *more) == 0


def test_what_is_handed_over_is_the_moving_average(tmp_path):
    words = ("simmim", *TINY, *SCENES)
    assert pretrain(tmp_path / "plain", *words) == 0
    assert pretrain(tmp_path / "slow", *words, "--training.ema=0.9") == 0
    plain, slow = handed_over(tmp_path / "plain"), handed_over(tmp_path / "slow")
    assert losses(tmp_path / "plain") == losses(tmp_path / "slow")
    assert any(not torch.equal(plain[name], slow[name]) for name in plain)
    for name, tensor in slow.items():
        if name.startswith("encoder.safetensors "):
            whole = name.replace("encoder.safetensors ", "objective.safetensors encoder.backbone.")
            assert_close(tensor, slow[whole], rtol=0, atol=0)


def test_two_processes_do_what_one_does(tmp_path):
    words = ["pretrain", "sgmim", *ENCODER, "--method.mask_size=8", *FEW, *SCENES]
    assert sgmim(*words, f"--run={tmp_path / 'one'}") == 0
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = [*start, "-m", "--", "sgmim", *words, f"--run={tmp_path / 'two'}"]
    finished = subprocess.run(two, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    parts = ("loss", "image", "depth", "grad_norm", "lr")
    ours, theirs = losses(tmp_path / "two", *parts), losses(tmp_path / "one", *parts)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert finished.stdout.count("the encoder is") == 1


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(done, method, tmp_path, capsys):
    shutil.copytree(done, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step_00000006.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 1
    newest.write_bytes(content)
    assert pretrain(tmp_path / "run", method, *TINY, *SCENES, *HARD, *SIX) == 0
    said = capsys.readouterr()
    assert "passed over step_00000006.pt" in said.err and "step_00000004.pt" in said.out
    assert_close(handed_over(tmp_path / "run"), handed_over(done), rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_full_disk_ends_a_run_with_74_and_leaves_what_was_saved(done, method, tmp_path, share):
    words = ("pretrain", method, *TINY, *SCENES, *HARD, *SIX, f"--run={tmp_path / 'run'}")
    most = (done / "checkpoints" / "step_00000006.pt").stat().st_size

    def work(limit=int(most * share)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return sgmim(*words)

    assert children.done(work, tmp_path / "told.txt") == 74
    (line,) = [x for x in (tmp_path / "told.txt").read_text().splitlines() if x[:5] == "sgmim"]
    assert "cannot write" in line and "File too large" in line and "make room" in line
    assert not any("partial" in name for name in files(tmp_path / "run"))
    assert sgmim(*words) == 0
