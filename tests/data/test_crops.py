import pytest
import torch

from sgmim import draws
from sgmim.data.crops import Jitter, is_mixed, jittered, random_window
from sgmim.data.geometry import Crop, cut
from sgmim.errors import ConfigurationError

SIZES = [(352, 1216), (480, 640), (640, 480), (100, 700), (40, 30), (1, 1)]


def keys(count):
    return [draws.key(0, 0, index) for index in range(count)]


def inside(crop, height, width):
    return 0 <= crop.top <= crop.top + crop.height <= height and (
        0 <= crop.left <= crop.left + crop.width <= width and min(crop.height, crop.width) > 0
    )


def test_a_window_of_kitti_is_copied_from_anywhere_along_its_width():
    pieces = [random_window(key, 352, 1216, (352, 352)) for key in keys(1000)]
    assert {(p.crop.top, p.crop.height, p.crop.width, p.size) for p in pieces} == {
        (0, 352, 352, (352, 352))
    }
    places = torch.tensor([piece.crop.left for piece in pieces]).float()
    assert places.min() < 10 and places.max() > 854
    assert abs(places.mean() - 432) < 25 and abs(places.std() - 864 / 12**0.5) < 25


def test_a_window_of_a_short_side_is_that_of_the_resized_image():
    pieces = [random_window(key, 480, 640, (256, 256), short_side=256) for key in keys(200)]
    assert {(p.crop.height, p.crop.width, p.size) for p in pieces} == {(480, 480, (256, 256))}
    assert min(p.crop.left for p in pieces) < 8 and max(p.crop.left for p in pieces) > 152


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_windows_lie_inside_the_image_and_end_where_it_ends(height, width):
    for key in keys(50):
        for piece, factor in (
            (random_window(key, height, width, (64, 96)), 1.0),
            (random_window(key, height, width, (64, 96), 128), 128 / min(height, width)),
        ):
            assert inside(piece.crop, height, width)
            enlarged = round(height * factor), round(width * factor)
            assert piece.size == (min(64, enlarged[0]), min(96, enlarged[1]))


def test_jitter_fits_the_image_into_sides_of_a_random_length():
    factors = [Jitter().factor(share, 512, 683) for share in (0.0, 0.5, 1.0)]
    assert factors == [0.5, 1.25, 2.0]
    assert Jitter().factor(1 / 3, 500, 4000) == pytest.approx(2048 / 4000)  # the longer side binds
    assert Jitter().factor(1 / 3, 683, 512) == Jitter().factor(1 / 3, 512, 683)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_jittered_pieces_lie_inside_the_image_and_keep_its_shape(height, width):
    sizes = set()
    for key in keys(100):
        crop, size = jittered(key, height, width, (512, 512), Jitter())
        assert inside(crop, height, width) and max(size) <= 512
        sizes.add(crop[2:4])
        if min(crop[2:4]) > 50:
            down, across = size[0] / crop.height, size[1] / crop.width
            assert down == pytest.approx(across, rel=0.02)
    assert len(sizes) > 5 or height < 10


def test_a_jittered_piece_is_drawn_again_until_no_class_fills_it():
    classes = torch.zeros(1, 400, 600)
    classes[..., 450:] = 1.0
    how = Jitter(within=(600, 400), times=(1.0, 1.0))

    def mixed(how, classes):
        pieces = [jittered(key, 400, 600, (200, 200), how, classes) for key in keys(80)]
        return sum(is_mixed(marks, piece.crop, 0.75) for piece in pieces)

    marks = classes
    assert mixed(how, classes) > 64
    assert mixed(how, None) < 32
    assert mixed(Jitter((600, 400), (1.0, 1.0), most=1.0), classes) < 32


def test_classes_that_are_not_known_do_not_count():
    classes = torch.full((1, 40, 40), torch.nan)
    whole = Crop(0, 0, 40, 40)
    assert not is_mixed(classes, whole, 0.75)
    classes[0, 0, :10] = 3.0
    assert not is_mixed(classes, whole, 0.75)
    classes[0, 0, 7:10] = 5.0  # 7 of 10 are of one class
    assert is_mixed(classes, whole, 0.75) and not is_mixed(classes, whole, 0.7)


def test_a_piece_depends_on_its_key_alone():
    def drawn():
        return [jittered(key, 300, 400, (128, 128), Jitter()) for key in keys(20)]

    torch.manual_seed(0)
    once = drawn()
    torch.manual_seed(1)
    assert drawn() == once and len(set(once)) == 20


def test_a_jittered_piece_is_that_of_the_resized_image():
    y, x = torch.meshgrid(torch.arange(300), torch.arange(400), indexing="ij")
    place = torch.stack([y, x, x]).float()
    for key in keys(10):
        crop, size = jittered(key, 300, 400, (128, 128), Jitter((800, 600), (0.5, 2.0)))
        piece = cut({"image": place}, crop, size)["image"]
        step = crop.height / size[0]
        assert piece[0, 64, 64] == pytest.approx(crop.top + 64.5 * step - 0.5, abs=1.0)
        assert piece[1, 64, 64] == pytest.approx(crop.left + 64.5 * step - 0.5, abs=1.0)


@pytest.mark.parametrize(
    "wrong", [{"within": (0, 512)}, {"times": (2.0, 0.5)}, {"most": 0.0}, {"most": 1.5}]
)
def test_jitter_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="jitter"):
        Jitter(**wrong)
