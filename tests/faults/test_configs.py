"""Recipes and options of any kind: a plan, or one clear line; nothing is run, nothing hangs."""

import random
import signal
import sys

import pytest
import yaml

from sgmim.options import recipes
from shell import SCENES, TINY, files, sgmim

pytestmark = pytest.mark.slow

CONFIGS = 1000
SECONDS = 20  # for one of them
ODD = [
    *(None, True, -1, 0, 7, 1e-3, 1e308, 10**30, float("nan"), float("inf"), "", "abc", "null"),
    *("[1, 2]", "{a: 1}", "å\u202e", "$HOME", "${oc.env:HOME}", "../../etc/passwd", "x" * 5000),
    *([], [[]], [1, 2, 3], {}, {"a": {"b": {"c": []}}}, [None], {"": 1}, {1: 2}),
    {"class_path": "evil.Evil", "init_args": {"a": 1}},
    {"class_path": "os.system", "init_args": {"command": "touch executed"}},
    {"_target_": "os.system", "command": "touch executed"},
    '{"cl\\x61ss_path": evil.Evil}',
    {"class_path": "evil.Evil"},
    *("evil.Evil", "evil:Evil", "!!python/name:evil.Evil"),
]
HARMFUL = [
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:evil.Evil []",
    "!!python/module:evil",
    "!!python/object/apply:builtins.exec [\"open('executed', 'w')\"]",
    "!!binary aGVsbG8=",
    "!include /etc/passwd",
    "&a [*a, *a]",
    "*nowhere",
    "{<<: *nowhere}",
]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('executed', 'w').close()\nclass Evil: pass\n")
    return tmp_path


def places(tree, path=()):
    """All settings of a recipe, as paths of keys."""
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def put(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def changed_tree(draw, recipe):
    """A recipe with one or two settings replaced by something odd, or a strange one added."""
    tree = yaml.safe_load(recipe)
    for _ in range(draw.choice([1, 1, 2])):
        path = draw.choice(list(places(tree)))
        if draw.random() < 0.2:
            path = (*path[:-1], draw.choice(["odd", "class_path", "recipe", "run", "init", "__x"]))
        put(tree, path, draw.choice(ODD))
    return yaml.safe_dump(tree, allow_unicode=True)


def changed_text(draw, recipe):
    """A recipe whose text was spoiled."""
    lines = [line for line in recipe.splitlines() if line and not line.startswith("#")]
    kind = draw.choice(["value", "letters", "lines", "bytes", "bomb", "deep"])
    if kind == "value":
        place = draw.randrange(len(lines))
        lines[place] = lines[place].partition(":")[0] + ": " + draw.choice(HARMFUL)
    elif kind == "letters":
        text = list("\n".join(lines))
        for _ in range(draw.randint(1, 20)):
            text[draw.randrange(len(text))] = draw.choice("{}[]:&*!|>'\"%@`,#\t- \0\x7fé")
        return "".join(text)
    elif kind == "lines":
        draw.shuffle(lines)
    elif kind == "bytes":
        return draw.randbytes(draw.randint(0, 300)).decode("latin-1")
    elif kind == "bomb":
        return "pretrain: sgmim\nencoder:\n  options:\n    " + BOMB.replace("\n", "\n    ")
    else:
        lines.append("odd: " + "[" * 500)
    return "\n".join(lines)


def changed_words(draw):
    """Options with odd values."""
    words = [*TINY, *SCENES, "--encoder.drop_path=0.1", "--batches.scale=[0.5, 1.0]"]
    for _ in range(draw.choice([1, 2])):
        place = draw.randrange(len(words))
        name = words[place].partition("=")[0]
        odd = draw.choice([*map(str, ODD), *HARMFUL])
        words[place] = f"{name}={odd}" if draw.random() < 0.8 else f"{name}.{draw.choice(ODD)}=1"
    return ("pretrain", draw.choice(["sgmim", "simmim"]), *words, "--dry-run")


def is_plain(capsys, code):
    said = capsys.readouterr().err
    if code == 0:
        return "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("sgmim: ")]
    return code in (2, 65, 74) and len(lines) == 1 and "Traceback" not in said


def attempt(words):
    """The exit code, or what the command failed with."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return sgmim(*words)
    except BaseException as error:
        return error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_any_configuration_gives_a_plan_or_one_clear_line(here, capsys, recorded):
    draw, kept, failed = random.Random(0), 0, []
    small = ("--device=cpu", "--data.scenes=24", "--data.scene_size=32", "--dry-run")
    sources = [recipes()[name].read_text() for name in ("demo_sgmim", "demo_simmim")]
    for number in range(CONFIGS):
        words, text = changed_words(draw), ""
        if number % 3:
            change = changed_tree if number % 3 == 1 else changed_text
            text = change(draw, draw.choice(sources))
            (here / "recipe.yaml").write_text(text, encoding="utf-8")
            words = ("pretrain", "--recipe=recipe.yaml", *small)
        code = attempt(words)
        plain = not isinstance(code, BaseException) and is_plain(capsys, code)
        untouched = set(files(here)) <= {"recipe.yaml", "evil.py"}
        kept += plain and untouched
        (here / "executed").unlink(missing_ok=True)
        sys.modules.pop("evil", None)
        if not plain or not untouched:
            failed.append((repr(code), words if not text else text[-300:], files(here)))
    for failure in failed[:10]:
        print(*failure, sep="\n", end="\n\n")
    recorded(
        "untrusted configs", "a plan or one clear line, nothing imported or run", CONFIGS, kept
    )
