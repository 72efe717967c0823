import json

import pytest
import yaml
from safetensors import safe_open
from torch.testing import assert_close

import sgmim as package
from shell import (
    ENCODER,
    FEW,
    SCENES,
    TINY,
    depth_maps,
    files,
    handed_over,
    log,
    photographs,
    sensor,
    sgmim,
)

DEPTH = ("finetune", "depth", "--head.width=8", "--training.schedule=up_and_down", *FEW, *SCENES)
TEST = ("--test.scenes=10", "--test.scene_size=40", "--test.scene_kind=rooms")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    run = tmp_path_factory.mktemp("pretrained") / "run"
    assert sgmim("pretrain", "sgmim", *TINY, *SCENES, f"--run={run}") == 0
    return run


@pytest.fixture(scope="module")
def finetuned(pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("finetuned") / "run"
    assert sgmim(*DEPTH, *TEST, f"--init={pretrained}", f"--run={run}") == 0
    return run


@pytest.fixture
def photos(tmp_path):
    return photographs(tmp_path / "photos")


def scores(path):
    return json.loads(path.read_text())


def lasting(record):
    """What of a record does not depend on who made it when and where."""
    passing = {"command", "date", "run", "best, selected on the test data"}
    kept = {name: value for name, value in record.items() if name not in passing}
    return kept | {"checkpoint": record["checkpoint"]["sha256"]}


def evaluate(run, to, *words):
    assert sgmim("evaluate", "depth", run, *words, f"--json={to}", "--device=cpu") == 0
    return scores(to)


def test_a_run_leaves_what_it_should(finetuned):
    assert files(finetuned) == [
        "checkpoints/step_00000004.pt",
        "config.yaml",
        "encoder.safetensors",
        "environment.json",
        "log.jsonl",
        "objective.safetensors",
        "pictures/preview.png",
        "pictures/step_00000004.png",
        "report.html",
        "scores.json",
    ]
    assert [row["silog"] for row in log(finetuned)] == [row["loss"] for row in log(finetuned)]


def test_its_report_tells_its_scores(finetuned):
    page = (finetuned / "report.html").read_text()
    scores = json.loads((finetuned / "scores.json").read_text())["scores"]
    assert f"<td>abs_rel</td><td>{scores['abs_rel']:.4f}</td>" in page and "finished" in page


def test_it_starts_from_the_weights_it_is_given(pretrained, tmp_path):
    still = ("--training.lr=1e-12", "--training.warmup_lr=0.0", "--training.min_lr=0.0")
    assert sgmim(*DEPTH, *still, f"--init={pretrained}", f"--run={tmp_path}") == 0
    ours, theirs = (package.load_encoder(run)[0].state_dict() for run in (tmp_path, pretrained))
    assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert "100.0% of the parameters" in header(tmp_path)["started_from"]


def header(run):
    with safe_open(run / "encoder.safetensors", "pt") as file:
        return file.metadata()


def test_it_starts_from_nothing(tmp_path):
    assert sgmim(*DEPTH, *ENCODER, f"--run={tmp_path}") == 0
    assert header(tmp_path)["started_from"] == "new"
    assert "scores.json" not in files(tmp_path)


def test_it_takes_another_image_size_than_the_pre_training(pretrained, tmp_path):
    words = (f"--init={pretrained}", "--encoder.image_size=[48, 64]", *TEST)
    assert sgmim(*DEPTH, *words, f"--run={tmp_path}") == 0
    encoder, _ = package.load_encoder(tmp_path)
    assert encoder.image_size == (48, 64) and encoder.dim == 48


def test_evaluation_gives_the_score_of_the_fine_tuning_and_says_how(finetuned, tmp_path, capsys):
    again = evaluate(finetuned, tmp_path / "again.json", *TEST)
    assert lasting(again) == lasting(scores(finetuned / "scores.json"))
    assert again["protocol"]["images_found"] == 10
    said = capsys.readouterr().out
    assert f"abs_rel      {again['scores']['abs_rel']:.4f}" in said
    for how in ("region none", "max depth 10.0", "images found 10"):
        assert how in said


def test_what_is_scored_is_what_is_handed_over_also_with_a_moving_average(pretrained, tmp_path):
    words = (f"--init={pretrained}", "--training.ema=0.9", "--training.steps=6", *TEST)
    assert sgmim(*DEPTH, *words, f"--run={tmp_path / 'run'}") == 0
    again = evaluate(tmp_path / "run", tmp_path / "again.json", *TEST)
    assert lasting(again) == lasting(scores(tmp_path / "run" / "scores.json"))


def test_a_stopped_run_goes_on_to_the_same_scores(finetuned, pretrained, tmp_path):
    words = (*DEPTH, *TEST, f"--init={pretrained}", "--training.save_every=1", f"--run={tmp_path}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgmim.runs.draw", _interrupt)
        assert sgmim(*words) == 130
    assert sgmim(*words) == 0
    assert_close(handed_over(tmp_path), handed_over(finetuned), rtol=0, atol=0)
    assert lasting(scores(tmp_path / "scores.json")) == lasting(scores(finetuned / "scores.json"))


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_run_is_used_without_what_it_was_started_from(finetuned, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.yaml", "objective.safetensors"):
        (copy / name).write_bytes((finetuned / name).read_bytes())
    written = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(written | {"init": "gone/long/ago"}))
    again = evaluate(copy, tmp_path / "again.json", *TEST)
    assert again["scores"] == scores(finetuned / "scores.json")["scores"]


def test_it_learns_and_is_scored_on_stored_depth_with_holes(tmp_path, photos):
    stored = sensor(photos, depth_maps(tmp_path / "depth", photos))
    test = [word.replace("--data.", "--test.") for word in stored]
    words = ("finetune", "depth", "--head.width=8", *ENCODER, *FEW, *stored, *test)
    assert sgmim(*words, f"--run={tmp_path / 'run'}") == 0
    found = scores(tmp_path / "run" / "scores.json")
    assert found["protocol"]["images_found"] == 6  # of which one knows no depth anywhere
    assert 0 < found["scores"]["rmse"] < 10
    assert lasting(evaluate(tmp_path / "run", tmp_path / "again.json", *test)) == lasting(found)


def test_a_test_without_depth_is_refused_before_any_training(tmp_path, photos, capsys):
    assert sgmim(*DEPTH, *ENCODER, f"--test.images={photos}", f"--run={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert "DepthEstimation needs depth" in said and "--test.maps.depth MAPS" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("depth", "RUN"), 2, "give --test.images FOLDER or --test.scenes N"),
        (("depht", "RUN", *TEST), 2, "did you mean 'depth'?"),
        (("depth", "PRETRAINED", *TEST), 2, "is no recipe for 'sgmim finetune'"),
        (("depth", "RUN", "--test.scens=3"), 2, "did you mean '--test.scenes'?"),
        (("depth", "."), 74, "holds no finished run"),
        (("depth", "RUN", "--test.images=nowhere"), 74, "nowhere"),
    ],
)
def test_an_evaluation_that_cannot_be_made_says_why(
    finetuned, pretrained, tmp_path, monkeypatch, capsys, words, code, said
):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": finetuned, "PRETRAINED": pretrained}
    assert sgmim("evaluate", *(places.get(word, word) for word in words)) == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_weights_that_do_not_fit_the_configuration_are_an_error_of_data(
    finetuned, pretrained, tmp_path, capsys
):
    for name, run in (("config.yaml", finetuned), ("objective.safetensors", pretrained)):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert sgmim("evaluate", "depth", tmp_path, *TEST) == 65
    assert "does not fit" in capsys.readouterr().err
