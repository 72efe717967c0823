"""Keypoints are found, and weigh what is learnt, by commands alone."""

import pytest
import yaml

from shell import TINY, handed_over, losses, photographs, sgmim


@pytest.fixture
def photos(tmp_path):
    return photographs(tmp_path / "photos")


@pytest.fixture
def points(tmp_path, photos):
    """The options for the photographs with their keypoints."""
    maps = tmp_path / "maps"
    assert sgmim("knowledge", "keypoints", photos, maps) == 0
    return (f"--data.images={photos}", f"--data.maps.fast={maps}")


def test_a_run_from_images_alone(tmp_path, points, capsys):
    run = tmp_path / "run"
    assert sgmim("pretrain", "kamim", *TINY, *points, f"--run={run}") == 0
    assert "images with fast" in capsys.readouterr().out
    values = losses(run, "image")
    assert len(values) == 4 and all(value > 0 for (value,) in values.values())
    assert (run / "encoder.safetensors").is_file()
    method = yaml.safe_load((run / "config.yaml").read_text())["method"]
    assert (method["raster"], method["temperature"], method["weight_size"]) == ("ring", 0.25, 8)


def test_its_control_is_an_infinite_temperature(tmp_path, points):
    weighted = ("--method.weights.of=fast", "--method.weights.temperature=.inf")
    for name, options in (("plain", ()), ("weighted", weighted)):
        run = f"--run={tmp_path / name}"
        assert sgmim("pretrain", "simmim", *TINY, *points, *options, run) == 0
    plain, weighted = tmp_path / "plain", tmp_path / "weighted"
    assert losses(plain) == losses(weighted)
    ours, theirs = handed_over(plain), handed_over(weighted)
    assert all(ours[name].equal(theirs[name]) for name in ours.keys() | theirs.keys())


@pytest.mark.parametrize(
    "options, says",
    [
        (("--method.weight_size=7",), "the nearest size that does is 8"),
        (("--method.temperature=0",), "temperature of weights is above 0"),
        (
            ("--method.detector=orb", "--data.live={orb_rings: device}"),
            "orb_rings cannot be computed from the device, only from the crop",
        ),
        (("--method.raster=rings",), "--method.raster takes ring or stamp or point"),
    ],
)
def test_what_cannot_be_weighed_is_told(tmp_path, points, capsys, options, says):
    assert sgmim("pretrain", "kamim", *TINY, *points, *options, f"--run={tmp_path / 'run'}") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_of_weights_that_are_none_are_told(tmp_path, points, capsys):
    wrong = "--method.weights={of: fast, temperature: hot}"
    assert sgmim("pretrain", "simmim", *TINY, *points, wrong, f"--run={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert "--method.weights.temperature takes a number, not hot" in said
