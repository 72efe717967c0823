"""Our FAST finds OpenCV's keypoints and no others; ORB, SIFT and their drawings are OpenCV's."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import golden
from sgmim.errors import ConfigurationError
from sgmim.knowledge import fast9, keypoints
from sgmim.knowledge.maker import Maker

cv2 = pytest.importorskip("cv2", reason="needs the extra 'keypoints'")

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data"
RINGS = {
    "fast": keypoints.fast_rings,
    "orb": keypoints.orb_rings,
    "sift": keypoints.sift_rings,
}


def opencv(image, threshold=10, code=cv2.COLOR_RGB2GRAY):
    """Where OpenCV finds FAST's keypoints: colors (H, W, 3) to (H, W)."""
    found = np.zeros(image.shape[:2], bool)
    detector = cv2.FastFeatureDetector_create(threshold=threshold)
    for point in detector.detect(cv2.cvtColor(image, code)):
        found[int(point.pt[1]), int(point.pt[0])] = True
    return found


def batch_of(*images):
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])


def blurred(rng, height, width):
    """Noise in which there are corners of all kinds."""
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1.2)


def authors_images():
    _, io = golden("kamim_keypoints")
    return io, io["images"].permute(0, 3, 1, 2)


def test_grey_is_opencv_s_to_the_bit():
    colors = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    ours = keypoints.grey(batch_of(colors))[0].numpy()
    assert (ours == cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)).all()
    swapped = keypoints.grey(batch_of(colors), bgr=True)[0].numpy()
    assert (swapped == cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)).all()


@pytest.mark.parametrize("threshold", [0, 1, 10, 30, 80, 254])
@pytest.mark.parametrize("size", [(7, 7), (8, 31), (33, 8), (61, 83), (192, 192)])
def test_fast_is_opencv_s(threshold, size):
    images = [blurred(np.random.default_rng(seed), *size) for seed in range(3)]
    ours = keypoints.fast(batch_of(*images), threshold=threshold)
    theirs = np.stack([opencv(image, threshold) for image in images])
    assert (ours[:, 0].numpy() == theirs).all()
    assert theirs.any() or threshold >= 30 or size == (7, 7)


def test_fast_is_opencv_s_on_photographs():
    files = sorted(PHOTOGRAPHS.glob("*/**/*.jpg"))[::150]
    if not files:
        pytest.skip("no photographs beside the checkout")
    photographs = [np.array(Image.open(file).convert("RGB")) for file in files]
    for photograph in photographs:
        for threshold in (5, 10, 40):
            ours = keypoints.fast(batch_of(photograph), threshold=threshold)[0, 0]
            assert (ours.numpy() == opencv(photograph, threshold)).all()
    assert len({photograph.shape for photograph in photographs}) > 10


def test_what_fast_finds_in_an_image_does_not_depend_on_the_batch(monkeypatch):
    images = batch_of(*(blurred(np.random.default_rng(seed), 40, 56) for seed in range(5)))
    together = keypoints.fast(images)
    assert torch.equal(together, torch.cat([keypoints.fast(one) for one in images.split(1)]))
    monkeypatch.setattr(fast9, "PART", 2 * 40 * 56)
    assert torch.equal(together, keypoints.fast(images))


def test_colors_from_0_to_1_are_as_good_as_bytes():
    image = batch_of(blurred(np.random.default_rng(0), 40, 56))
    assert torch.equal(keypoints.fast(image), keypoints.fast(image / 255))


@pytest.mark.parametrize("size", [(6, 40), (40, 6), (1, 1)])
def test_there_are_no_keypoints_where_no_circle_fits(size):
    image = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    assert not keypoints.fast(image).any()


def test_the_points_are_those_of_the_authors():
    io, images = authors_images()
    ours = keypoints.fast(images, bgr=True)[:, 0]
    for one, xy in zip(ours, io["fast.xy"].split(io["fast.count"].tolist()), strict=True):
        x, y = xy.long().unbind(1)
        assert one[y, x].all() and one.sum() == len(xy)


@pytest.mark.parametrize("detector", RINGS)
def test_the_drawings_are_those_of_the_authors(detector):
    io, images = authors_images()
    drawn = RINGS[detector](images, bgr=True)[:, 0]
    assert torch.equal(drawn, io[f"{detector}.map"].float())


@pytest.mark.parametrize("detector", ["orb", "sift"])
def test_a_point_lies_where_its_center_is_rounded_to(detector):
    io, images = authors_images()
    find = {"orb": keypoints.orb, "sift": keypoints.sift}[detector]
    theirs = io[f"{detector}.xy"].split(io[f"{detector}.count"].tolist())
    for one, xy in zip(find(images, bgr=True)[:, 0], theirs, strict=True):
        x, y = xy.round().long().unbind(1)
        assert one[y, x].all() and one.sum() == len(xy.round().unique(dim=0))


@pytest.mark.parametrize("detector", RINGS)
def test_a_maker_says_what_its_points_are(detector):
    make = keypoints.maker(detector=detector)
    assert isinstance(make, Maker)
    assert make.note.name == detector and make.note.kind == "points" and make.note.scale == 1
    image = batch_of(blurred(np.random.default_rng(0), 128, 160)) / 255
    points = make(image)
    assert points.shape == (1, 1, 128, 160) and set(points.unique().tolist()) == {0.0, 1.0}


def test_a_maker_s_options_reach_its_detector():
    image = batch_of(blurred(np.random.default_rng(0), 128, 160)) / 255
    assert keypoints.maker(threshold=40)(image).sum() < keypoints.maker()(image).sum()
    few = keypoints.maker(detector="orb", features=20)
    assert 0 < few(image).sum() <= 20 and "features 20" in few.note.version
    sparse = keypoints.maker(detector="sift", contrast=0.2)
    assert sparse(image).sum() < keypoints.maker(detector="sift")(image).sum()


def test_a_threshold_is_a_difference_of_grey_levels():
    with pytest.raises(ConfigurationError, match="0 to 255 grey levels, not 300"):
        keypoints.fast(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), threshold=300)


def test_without_opencv_fast_is_there_and_the_others_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    keypoints._orb.cache_clear()
    image = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    keypoints.maker()
    keypoints.fast(image)
    with pytest.raises(ConfigurationError, match=r"pip install 'sgmim\[keypoints\]'"):
        keypoints.orb(image)
    with pytest.raises(ConfigurationError, match=r"pip install 'sgmim\[keypoints\]'"):
        keypoints.maker(detector="sift")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fast_is_the_same_on_a_gpu():
    image = batch_of(*(blurred(np.random.default_rng(seed), 96, 130) for seed in range(4)))
    assert torch.equal(keypoints.fast(image.cuda()).cpu(), keypoints.fast(image))
