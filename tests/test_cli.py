import random
import subprocess
import sys

import pytest

from sgmim.options import recipes
from shell import SCENES, TINY, files, photographs, sgmim

COMMANDS = (
    "pretrain", "finetune", "evaluate", "predict", "knowledge", "list", "report", "doctor"
)  # fmt: skip
TRAINED = ("pretrain", "sgmim", *TINY, *SCENES)


def told(capsys, code, *words):
    """What a command that ends with this code says in one short paragraph."""
    assert sgmim(*words) == code
    said = capsys.readouterr()
    assert said.err.startswith("sgmim: ") and said.err.count("\n") == 1
    return said.err


def run(*words, after=""):
    """The command in a process of its own; `after` is run there when it is done."""
    program = f"import sys; from sgmim.cli import main; code = main({list(words)}); {after}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize("words", [(), ("--help",), ("--version",), ("pretran",)])
def test_what_needs_no_model_is_answered_without_torch(words):
    done = run(*words, after="print(code, 'torch' in sys.modules)")
    assert done.stdout.splitlines()[-1] == f"{2 * (words == ('pretran',))} False"


def test_help_names_every_command_and_what_it_does(capsys):
    assert sgmim("--help") == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        (line,) = [line for line in said.splitlines() if line.strip().startswith(command)]
        assert len(line.split()) > 4


def test_the_help_of_a_command_tells_its_options_with_their_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        sgmim("pretrain", "sgmim", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "--method.mask_ratio MASK_RATIO share of the image that is hidden" in said
    assert "default: 0.6" in said


def test_a_mistyped_command_is_refused_with_the_nearest(capsys):
    assert "did you mean 'pretrain'?" in told(capsys, 2, "pretran", "sgmim")


MISTAKES = [
    ("--method.mask_rato=0.5", "--method.mask_rato (did you mean '--method.mask_ratio'?)"),
    ("--methd.mask_ratio=0.5", "did you mean '--method.mask_ratio'?"),
    ("--training.lr=abc", "--training.lr takes a number, not abc"),
    ("--training.batch=2.5", "--training.batch takes a whole number, not 2.5"),
    ("--training.steps=many", "--training.steps takes a whole number or null, not many"),
    ("--training.schedule=cosin", "not cosin (did you mean 'cosine'?)"),
    ("--encoder.image_size=[32]", "a whole number or [a whole number, a whole number], not [32]"),
    ("--encoder.name=vit_tiny_patch16_225", "did you mean 'vit_tiny_patch16_224'?"),
    ("--data.live=edge", "--data.live takes {name: image, ...} or null, not edge"),
    ("--data.scale.depth=far", "--data.scale takes {name: a number, ...} or null, not depth: far"),
    ("--method.guides={depth: {weigt: 2}}", "--method.guides.depth has no weigt (did you mean 'we"),
    ("--method.guides={depth: {loss: ss}}", "guides.depth.loss takes auto or l1 or ssi"),
    ("--method.guides={classes: {}}", "is told how many classes there are"),
    ("--encoder.options.num_heads=5", "divisible"),
    ("--training.steps=0", "steps is above 0"),
    ("--pretrain=simmim", "--pretrain differs"),
    ("--recipe=demo_sgmin", "did you mean 'demo_sgmim'?"),
    ("stray", "stray"),
]


@pytest.mark.parametrize("word, said", MISTAKES)
def test_a_mistaken_option_is_refused_before_the_data_is_looked_for(capsys, word, said):
    nowhere = "--data.images=no/such/folder"
    assert said in told(capsys, 2, "pretrain", "sgmim", *TINY, nowhere, word)


def test_an_unknown_method_is_refused_with_the_nearest(capsys):
    said = told(capsys, 2, "pretrain", "sgmm", *TINY, "--data.images=no/such/folder")
    assert "did you mean 'sgmim'?" in said and "simmim" in said


RECIPES = [
    ("pretrain: sgmim\nmethod: {mask_rato: 0.5}", "did you mean '--method.mask_ratio'?"),
    ("pretrain: sgmim\nmethd: {mask_ratio: 0.5}", "did you mean '--method.mask_ratio'?"),
    ("pretrain: sgmim\ntraining: {lr: abc}", "--training.lr takes a number, not abc"),
    ("pretrain: sgmim\ntraining: 3", "training takes names with values, not 3"),
    ("pretrain: sgmim\ntraining: [3\n", "line 3 of"),
    ("pretrain: sgmm", "did you mean 'sgmim'?"),
    ("pretrain: [sgmim]", "is no recipe for 'sgmim pretrain'"),
    ("finetune: depth", "is no recipe for 'sgmim pretrain'"),
    ("pretrain: simmim", "the recipe is for simmim, but sgmim was asked for"),
    ("", "is no recipe"),
    ("[1, 2]", "is no recipe"),
    (b"\xff\xfe\xdd", "is no YAML"),
]


@pytest.mark.parametrize("text, said", RECIPES)
def test_a_mistaken_recipe_is_refused_before_the_data_is_looked_for(capsys, tmp_path, text, said):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_bytes(text if isinstance(text, bytes) else text.encode())
    method = () if "sgmm" in str(text) else ("sgmim",)
    words = ("pretrain", *method, f"--recipe={recipe}", "--data.images=no/such/folder")
    assert said in told(capsys, 2, *words)


def test_a_number_may_be_written_as_people_write_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("pretrain: sgmim\ntraining: {lr: 2e-4, lr_per: 0}")
    words = (*TINY[:3], "--method.mask_size=8", *SCENES)
    assert sgmim("pretrain", "--recipe=recipe.yaml", *words, "--dry-run") == 0
    assert "0.0002" in capsys.readouterr().out


def test_a_missing_folder_is_an_error_of_files(capsys, tmp_path):
    assert "no/such/folder" in told(
        capsys, 74, "pretrain", "simmim", *TINY, "--data.images=no/such/folder"
    )
    maps = f"--data.maps.depth={tmp_path / 'none'}"
    images = f"--data.images={photographs(tmp_path / 'photos')}"
    assert "none" in told(capsys, 74, "pretrain", "sgmim", *TINY, images, maps)
    assert "recipe.yaml" in told(capsys, 74, "pretrain", "--recipe=no/such/recipe.yaml")
    assert "nowhere" in told(capsys, 74, *TRAINED, "--init=nowhere")
    assert "nowhere" in told(capsys, 74, "evaluate", "depth", "nowhere", "--test.scenes=2")
    assert "nowhere" in told(capsys, 74, "predict", "nowhere", tmp_path, tmp_path / "out")


def test_a_missing_map_is_an_error_of_data_and_a_map_not_asked_for_one_of_options(capsys, tmp_path):
    images = photographs(tmp_path / "photos")
    (tmp_path / "maps").mkdir()
    words = ("pretrain", "sgmim", *TINY, f"--data.images={images}")
    assert "6 of 6 images have no depth map" in told(
        capsys, 65, *words, f"--data.maps.depth={tmp_path / 'maps'}"
    )
    assert "--data.maps.depth" in told(capsys, 2, *words)


def test_broken_images_are_an_error_of_data_and_named(capsys, tmp_path):
    images = photographs(tmp_path / "photos")
    for path in images.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:99])
    words = ("pretrain", "simmim", *TINY, f"--data.images={images}", f"--run={tmp_path / 'run'}")
    assert sgmim(*words) == 65
    said = capsys.readouterr().err
    assert "color.jpg" in said and "Traceback" not in said


def test_a_traceback_is_shown_where_it_is_asked_for_and_nowhere_else():
    assert run("pretran").stderr.count("Traceback") == 0
    shown = run("pretran", "--traceback").stderr
    assert shown.count("Traceback") == 1 and "did you mean 'pretrain'?" in shown


def test_an_interrupted_command_says_so(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgmim.commands.list.main", interrupt)
    assert sgmim("list") == 130
    assert capsys.readouterr().err == "sgmim: interrupted\n"


def test_whoever_stops_reading_gets_no_error():
    words = [sys.executable, "-m", "sgmim", "--help"]
    reading = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reading.stdout.close()
    assert reading.stderr.read() == b""
    reading.stderr.close()
    assert reading.wait() == 0


ODD = ["", "abc", "-1", "0", "7", "1e-3", "nan", "null", "true", "[1, 2]", "{a: 1}", "[", "å", "$x"]


def mutated(text, dice):
    """A text with one thing about it changed."""
    place = dice.randrange(len(text))
    change = dice.choice(["drop", "swap", "double", "value", "value"])
    if change == "drop":
        return text[:place] + text[place + 1 :]
    if change == "swap":
        return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]
    if change == "double":
        return text[:place] + text[place] + text[place:]
    name, sign, _ = text.partition("=") if "=" in text else text.partition(": ")
    return f"{name}{sign}{dice.choice(ODD)}"


def is_plain(capsys, code):
    """Whether a command succeeded or said in one short paragraph what is wrong."""
    said = capsys.readouterr().err
    if code == 0:
        return True
    return code in (2, 65, 74) and said.startswith("sgmim: ") and said.count("\n") == 1


@pytest.mark.parametrize("seed", range(5))
def test_any_change_of_a_command_gives_a_plan_or_one_clear_message(
    capsys, tmp_path, monkeypatch, seed
):
    monkeypatch.chdir(tmp_path)
    dice = random.Random(seed)
    for _ in range(12):
        words = [*TRAINED, "--batches.scale=[0.5, 1.0]", "--training.milestones=[7]"]
        for _ in range(dice.choice([1, 1, 2])):
            place = dice.randrange(1, len(words))
            words[place] = mutated(words[place], dice)
        code = sgmim(*words, "--dry-run")
        assert is_plain(capsys, code), words
    assert files(tmp_path) == []


@pytest.mark.parametrize("seed", range(5))
def test_any_change_of_a_recipe_gives_a_plan_or_one_clear_message(
    capsys, tmp_path, monkeypatch, seed
):
    monkeypatch.chdir(tmp_path)
    dice = random.Random(seed)
    lines = recipes()["demo_sgmim"].read_text().splitlines()
    for _ in range(12):
        changed = [line for line in lines if not line.startswith("#")]
        place = dice.randrange(len(changed))
        changed[place] = mutated(changed[place], dice)
        if dice.random() < 0.2:
            dice.shuffle(changed)
        (tmp_path / "recipe.yaml").write_text("\n".join(changed))
        words = ("--data.scenes=24", "--data.scene_size=32", "--device=cpu", "--dry-run")
        code = sgmim("pretrain", "--recipe=recipe.yaml", *words)
        assert is_plain(capsys, code), "\n".join(changed)
    assert files(tmp_path) == ["recipe.yaml"]
