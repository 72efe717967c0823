import numpy as np
import pytest
from PIL import Image

import sgmim as package
from sgmim.commands.predict import note
from sgmim.data.stored import read_map, read_note
from sgmim.errors import ConfigurationError
from sgmim.reports import predictions
from shell import ENCODER, FEW, SCENES, TINY, files, photographs, sgmim
from test_point_clouds import parsed
from trees import camvid

FINETUNED = (*ENCODER, *FEW, *SCENES, "--training.steps=2")
CLASSES = (*ENCODER, *FEW, "--task.classes=11", "--head.name=linear", "--training.batch=2")


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    run = tmp_path_factory.mktemp("depth") / "run"
    assert sgmim("finetune", "depth", "--head.name=linear", *FINETUNED, f"--run={run}") == 0
    return run


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    data = (f"--data.dataset={camvid(folder)}", f"--data.root={folder}", "--training.steps=1")
    assert sgmim("finetune", "segmentation", *CLASSES, *data, f"--run={folder / 'run'}") == 0
    return folder / "run"


@pytest.fixture
def all_kinds(tmp_path):
    return photographs(tmp_path / "photos")


@pytest.fixture
def photos(all_kinds):
    """Two of them are enough."""
    for name in ("grey.jpg", "summer/transparent.png", "summer/print.jpg", "summer/sea/web.webp"):
        (all_kinds / name).unlink()
    return all_kinds


def predict(run, photos, out, *words):
    return sgmim("predict", run, photos, out, "--device=cpu", *words)


def called(photos, suffix="png"):
    return sorted(f"{name.rpartition('.')[0]}.{suffix}" for name in files(photos))


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_predictions_are_depth_maps_and_sheets_called_as_their_images(depth, tmp_path, all_kinds):
    photos = all_kinds
    out = tmp_path / "out"
    assert predict(depth, photos, out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["depth", "sheet"]
    assert files(out / "sheet") == called(photos)
    assert files(out / "depth") == sorted([*called(photos), "knowledge.json"])
    note = read_note(out / "depth")
    for name in called(photos):
        found = read_map(out / "depth" / name, scale=note.scale)
        assert found.min() >= 0 and 0 < found.max() <= 10
        assert pixels(out / "sheet" / name).std() > 0
    turned = read_map(out / "depth" / "summer" / "sea" / "turned.png")
    assert turned.shape == (1, 56, 40)


def test_what_is_asked_for_is_written_of_depth(depth, tmp_path, photos):
    out = tmp_path / "out"
    kinds = "depth,colors,overlay,sheet,points"
    words = (f"--write={kinds}", "--field_of_view=70", "--ends=[100, 200]")
    assert predict(depth, photos, out, *words) == 0
    assert len({*map(tuple, pixels(out / "colors" / "color.png").reshape(-1, 3))}) == 1
    for kind in kinds.split(","):
        made = [name for name in files(out / kind) if name != "knowledge.json"]
        assert made == called(photos, "ply" if kind == "points" else "png")
    for kind in ("colors", "overlay"):
        assert pixels(out / kind / "color.png").shape == (40, 56, 3)
    vertices = parsed((out / "points" / "color.ply").read_bytes())
    meters = read_map(out / "depth" / "color.png", scale=read_note(out / "depth").scale)
    assert len(vertices) == 40 * 56
    np.testing.assert_allclose(vertices["z"], meters.flatten().numpy(), rtol=1e-6)
    photo = pixels(photos / "color.jpg").reshape(-1, 3)
    assert np.abs(np.stack([vertices[c] for c in ("red", "green", "blue")], 1) - photo).max() <= 1


def test_what_is_asked_for_is_written_of_classes(classes, tmp_path, photos):
    out = tmp_path / "out"
    assert predict(classes, photos, out, "--write=colors,overlay,sheet", "--names", "a", "b") == 0
    for kind in ("colors", "overlay", "sheet"):
        assert files(out / kind) == called(photos)
    for name in called(photos):
        with Image.open(out / "classes" / name) as numbers:
            assert numbers.mode == "L" and np.asarray(numbers).max() < 11
        colors, numbers = pixels(out / "colors" / name), pixels(out / "classes" / name)
        assert len({*map(tuple, colors.reshape(-1, 3))}) == len(np.unique(numbers))


def test_the_names_of_classes_travel_with_the_model_to_the_legend(
    classes, tmp_path, photos, monkeypatch
):
    names, told = package.load_task(classes, device="cpu").classes, []
    assert names[:4] == ("Sky", "Building", "Pole", "Road") and len(names) == 11
    monkeypatch.setattr(predictions, "with_legend", lambda sheet, them: told.extend(them) or sheet)
    assert predict(classes, photos, tmp_path / "out") == 0
    assert told and all(text.startswith(names[number]) for number, text in told)


def test_more_classes_than_eight_bits_hold_are_kept_in_sixteen(classes):
    model = package.load_task(classes, device="cpu")
    assert note(model, classes).bits == 8
    model.task.limits = {"classes": 300}
    assert note(model, classes).bits == 16


def test_the_model_in_python_says_what_the_command_writes(depth, classes, tmp_path, photos):
    for run, name in ((depth, "depth"), (classes, "classes")):
        assert predict(run, photos, tmp_path / name, "--write=") == 0
        said = package.load_task(run, device="cpu").predict(photos / "color.jpg")
        path = tmp_path / name / name / "color.png"
        kept = read_map(path, scale=read_note(path.parent).scale)
        assert said.shape == kept.shape == (1, 40, 56)
        assert (said - kept).abs().max() <= 10 / 65535


def test_predictions_go_on_where_they_were_stopped(depth, tmp_path, photos, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    everything = "--write=colors,overlay,sheet,points"
    assert predict(depth, photos, whole, everything) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgmim.reports.predictions.sheet", _interrupt)
        assert predict(depth, photos, out, everything) == 130
    assert predict(depth, photos, out) == 0
    assert predict(depth, photos, out, everything) == 0
    assert files(out) == files(whole)
    for name in files(whole):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def test_predictions_pass_over_broken_images_and_name_them(depth, tmp_path, photos, capsys):
    (photos / "grey.jpg").write_bytes(b"no picture")
    assert predict(depth, photos, tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "grey.jpg" in said.err and "2 of 3 images" in said.out
    assert "grey.jpg" in (tmp_path / "out" / "depth" / "broken.txt").read_text()
    for path in photos.rglob("*.*"):
        path.write_bytes(b"no picture")
    assert predict(depth, photos, tmp_path / "other") == 65


def test_predictions_are_usable_as_maps(depth, tmp_path, photos):
    assert predict(depth, photos, tmp_path / "out") == 0
    words = (f"--data.images={photos}", f"--data.maps.depth={tmp_path / 'out' / 'depth'}")
    assert sgmim("pretrain", "sgmim", *TINY, *words, f"--run={tmp_path / 'run'}") == 0


def test_one_image_is_shown_as_asked_and_not_otherwise_in_the_same_folder(
    depth, tmp_path, photos, capsys
):
    image = photos / "color.jpg"
    assert predict(depth, image, tmp_path / "whole", "--write=") == 0
    assert predict(depth, image, tmp_path / "flip", "--write=", "--inference.flip=true") == 0
    whole, flip = (read_map(tmp_path / o / "depth" / "color.png") for o in ("whole", "flip"))
    assert (whole != flip).any()
    assert predict(depth, image, tmp_path / "whole", "--inference.flip=true") == 2
    assert "flip" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--write=sheets"], "did you mean 'sheet'"),
        (["--write=points", "--camera=[0, 1, 2, 3]"], "focal lengths are above 0"),
        (["--write=points", "--camera=[1,1,2,3]", "--field_of_view=60"], "give one"),
        (["--inference.mode=slid"], "did you mean 'slide'"),
    ],
)
def test_what_cannot_be_predicted_is_refused(depth, tmp_path, photos, capsys, words, said):
    assert predict(depth, photos, tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_classes_have_no_points(classes, tmp_path, photos, capsys):
    assert predict(classes, photos, tmp_path / "out", "--write=points") == 2
    assert "points are made of depth" in capsys.readouterr().err


def test_an_option_that_inference_does_not_have_is_refused(depth):
    with pytest.raises(ConfigurationError, match="windos"):
        package.load_task(depth, device="cpu", windos=3)
