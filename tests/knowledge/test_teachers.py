import sys

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.knowledge import depth
from sgmim.knowledge.depth import TEACHERS, maker
from sgmim.knowledge.teachers import licenses
from tiny_teachers import folder, on_the_hub

IMAGE = torch.rand(2, 3, 40, 56)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub's client, which reaches no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def card(**lines):
    stated = "".join(f"{key}: {value}\n" for key, value in lines.items())
    return f"---\n{stated}---\nA model.\n"


def refused(word, error=ConfigurationError, /, **options):
    with pytest.raises(error, match=word) as caught:
        maker(**options)
    assert "\n" not in str(caught.value)


def test_a_model_of_the_hub_is_noted_with_its_commit_and_license(hub):
    commit = on_the_hub(hub, "some/model", folder("depth_anything"), card(license="mit"))
    note = maker(teacher="some/model").note
    assert (note.source, note.version, note.license) == ("some/model", commit, "mit")
    assert (note.accepted, note.trained_on) == (False, ())


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        (card(license="cc-by-nc-4.0"), "license cc-by-nc-4.0"),
        (card(license="other", license_name="apple-amlr"), "license apple-amlr"),
        (card(tags="depth"), "states no license"),
        ("no lines between dashes", "states no license"),
        (None, "states no license"),
    ],
)
def test_a_license_that_is_not_permissive_has_to_be_accepted(hub, text, stated):
    on_the_hub(hub, "some/model", folder("depth_anything"), text)
    refused(f"{stated}.*--accept_license", teacher="some/model")
    note = maker(teacher="some/model", accept_license=True).note
    assert note.accepted
    assert (note.license or "no license") in stated


def test_the_license_of_a_preset_is_asked_for_before_the_network_is():
    refused("cc-by-nc-4.0", teacher="da2-large")
    refused("cc-by-nc-4.0", teacher=TEACHERS["da2-large"].hub)


def test_a_folder_without_a_card_is_ones_own():
    note = maker(teacher=str(folder("depth_anything")), accept_license=True).note
    assert (note.license, note.accepted) == ("unstated", False)


def test_a_folder_with_a_card_has_its_license(tmp_path):
    on_the_hub(tmp_path, "a/b", folder("dpt"), card(license="cc-by-nc-sa-4.0"))
    (path,) = (tmp_path / "models--a--b" / "snapshots").iterdir()
    refused("cc-by-nc-sa-4.0", teacher=str(path))
    assert maker(teacher=str(path), accept_license=True).note.accepted


def test_another_model_in_the_same_folder_is_another_teacher(tmp_path):
    versions = set()
    for name in ("dpt", "glpn"):
        path = tmp_path / "model"
        path.unlink(missing_ok=True)
        path.symlink_to(folder(name))
        versions.add(maker(teacher=str(path)).note.version)
    assert len(versions) == 2


def test_benchmarks_are_known_from_name_and_card(hub):
    text = card(license="mit", datasets="[sayakpaul/nyu_depth_v2, imagenet]")
    on_the_hub(hub, "some/kitti-depth", folder("dpt"), text)
    assert maker(teacher="some/kitti-depth").note.trained_on == ("kitti", "nyu")
    told = maker(teacher="some/kitti-depth", trained_on=("sintel", "nyu")).note.trained_on
    assert told == ("kitti", "nyu", "sintel")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("vkitti-depth", ()),
        ("depth-anything-vkitti2", ()),
        ("segformer-b0-ade-512", ("ade20k",)),
        ("decades", ()),
        ("zoedepth-nyu-kitti", ("nyu", "kitti")),
    ],
)
def test_a_benchmark_is_a_word_of_a_name(name, known):
    assert licenses.seen_by(name, {}) == known


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.RepositoryNotFoundError, "there is no model some/model on the hub"),
        (errors.GatedRepoError, "behind terms"),
        (errors.RevisionNotFoundError, "no revision 'v9'"),
        (errors.RemoteEntryNotFoundError, r"no model of transformers: no config\.json"),
        (ConnectionError, "cannot be reached"),
    ],
)
def test_what_the_hub_says_is_one_line(monkeypatch, error, word):
    def raises(*_, **__):
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raises)
    refused(word, teacher="some/model", revision="v9")


def test_without_a_network_it_says_what_to_do(hub):
    refused("cannot be reached.*'hf download depth-anything.*folder", teacher="da2-small")


def test_what_is_no_teacher_is_said(tmp_path, hub):
    refused("did you mean 'da2-small'", teacher="da2-smal")
    refused("there is no folder ./nothing", FileError, teacher="./nothing")
    refused("no model of transformers", teacher=str(tmp_path))
    refused("ViTForImageClassification", teacher=str(folder("classifier")))
    refused("is a file.*:NAME", teacher=__file__)
    refused("of dpt-omnidata", teacher="da2-small", checkpoint=tmp_path)


def copied(name, to):
    for file in folder(name).iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return str(to)


def test_a_model_without_all_of_its_weights_is_refused(tmp_path):
    path = copied("dpt", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    refused("weights of .* cannot be read", DataError, teacher=path)
    (tmp_path / "model.safetensors").unlink()
    refused("weights of .* cannot be read", DataError, teacher=path)
    copied("classifier", tmp_path)
    copied("glpn", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(
        (folder("classifier") / "model.safetensors").read_bytes()
    )
    refused(r"lacks \d+ weights", DataError, teacher=path)


def test_a_model_without_its_processor_is_refused(tmp_path):
    path = copied("dpt", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    refused("what prepares images", teacher=path)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(r"pip install 'sgmim\[teachers\]'", teacher=str(folder("dpt")))


FUNCTIONS = """
import torch

def luma(image):
    return image.mean(dim=1, keepdim=True)

def flat(image):
    return image.mean(dim=1)

def words(image):
    return "far"

def breaks(image):
    return image[0] / undefined

SIZE = 3

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1)
    def forward(self, image):
        assert not self.training
        return self.layer(image)

net = Net()
"""


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "own.py").write_text(FUNCTIONS)
    return f"{tmp_path}/own.py"


def test_a_function_in_a_file_is_a_teacher(functions):
    made = maker(teacher=f"{functions}:luma", kind="metric", trained_on=("kitti",))
    torch.testing.assert_close(made(IMAGE), IMAGE.mean(dim=1, keepdim=True))
    assert (made.note.license, made.note.trained_on) == ("unstated", ("kitti",))
    assert made.note.direction == "far_high"
    assert made.note.version.startswith("sha256 ")


def test_a_function_of_a_module_is_a_teacher(functions, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    made = maker(teacher="own:net", kind="relative", direction="near_high")
    assert made(IMAGE).shape == (2, 1, 40, 56)
    assert (made.note.kind, made.note.direction) == ("relative", "near_high")
    del sys.modules["own"]


def test_a_function_that_is_none_is_said(functions, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    refused("cannot be imported: ZeroDivisionError", teacher=f"{tmp_path}/broken.py:f")
    refused("cannot be imported: ModuleNotFoundError", teacher="no.such.module:f")
    refused("cannot be read", FileError, teacher=f"{tmp_path}/nothing.py:f")
    refused("no function 'lume' .did you mean 'luma'", teacher=f"{functions}:lume")
    refused("no function 'SIZE'", teacher=f"{functions}:SIZE")
    refused("Say --kind", teacher=f"{functions}:luma")
    refused("Say --direction", teacher=f"{functions}:luma", kind="relative")
    refused("--size", teacher=f"{functions}:luma", kind="metric", size=64)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("flat", r"gave \(2, 40, 56\)"),
        ("words", "gave str"),
        ("breaks", "failed: name 'undefined' is not"),
    ],
)
def test_a_function_that_gives_no_map_is_said(functions, name, word):
    with pytest.raises(ConfigurationError, match=word) as caught:
        maker(teacher=f"{functions}:{name}", kind="metric")(IMAGE)
    assert "\n" not in str(caught.value)


def test_all_presets_say_what_they_are():
    for name, preset in depth.TEACHERS.items():
        assert preset.kind in ("inverse", "relative", "metric"), name
        assert preset.direction in ("near_high", "far_high"), name
        assert preset.license, name
