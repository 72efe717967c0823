import yaml

from shell import ENCODER, FEW, SCENES, log, sgmim

DEPTH = ("finetune", "depth", "--head.width=8", *ENCODER, *FEW, *SCENES, "--training.steps=2")
ASKED = (
    "--batches.crop=jitter", "--batches.jitter.within=[64, 32]", "--batches.rotation=2.5",
    "--batches.cut_depth.probability=0.5", "--batches.cut_depth.max_depth=10",
    "--batches.colors=glp",
)  # fmt: skip


def test_augmentation_is_asked_for_by_options_and_kept_in_the_run(tmp_path):
    assert sgmim(*DEPTH, *ASKED, f"--run={tmp_path}") == 0
    assert len(log(tmp_path)) == 2
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())["batches"]
    assert kept["jitter"]["within"] == [64, 32] and kept["jitter"]["most"] == 0.75
    assert kept["cut_depth"]["probability"] == 0.5 and kept["colors"] == "glp"


def test_augmentation_comes_from_a_recipe_and_a_run_of_it_goes_on(tmp_path):
    asked = {"crop": "window", "cut_depth": {"max_depth": 80.0}, "colors": "mmseg"}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"finetune": "depth", "batches": asked}))
    words = ("finetune", f"--recipe={recipe}", *DEPTH[2:], f"--run={tmp_path / 'run'}")
    assert sgmim(*words, "--training.steps=1") == 0
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["batches"]
    assert kept["crop"] == "window" and kept["cut_depth"]["wrap"] is None
    assert sgmim(*words, "--training.steps=1") == 0


def test_a_mistake_in_them_is_told_in_a_line(tmp_path, capsys):
    run = f"--run={tmp_path / 'run'}"
    for word, said in (
        ("--batches.crop=windw", "did you mean 'window'"),
        ("--batches.colors=gpl", "did you mean 'glp'"),
        ("--batches.cut_depth={max: 3}", "cut_depth has no max"),
        ("--batches.cut_depth.probability=3", "cut_depth has a probability"),
        ("--batches.jitter.most=0", "jitter.most is a share above 0"),
    ):
        assert sgmim(*DEPTH, word, run) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error, error
