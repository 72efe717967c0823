import numpy as np
import torch

from sgmim.palette import palette
from sgmim.reports.pictures import PAPER, colorize
from sgmim.reports.predictions import TILE, ClassDrawing, DepthDrawing, with_legend

IMAGE = torch.rand(3, 30, 40, generator=torch.Generator())
DEPTH = torch.linspace(1, 9, 1200).view(1, 30, 40)
CLASSES = torch.tensor([3.0, 0.0, 7.0]).repeat_interleave(400).view(1, 30, 40)


def test_colors_of_depth_tell_nearly_all_of_it_apart_or_what_is_told():
    own = DepthDrawing(IMAGE, DEPTH)
    assert 1.1 < own.ends[0] < 1.2 and 8.8 < own.ends[1] < 8.9
    assert np.array_equal(np.asarray(own.colors()), colorize(DEPTH[0], *own.ends))
    assert DepthDrawing(IMAGE, torch.where(DEPTH > 8.99, 1000.0, DEPTH)).ends[1] < 9
    told = np.asarray(DepthDrawing(IMAGE, DEPTH, (0.0, 80.0)).colors())
    assert np.array_equal(told, colorize(DEPTH[0], 0.0, 80.0))


def test_colors_of_classes_are_the_palettes():
    colors = np.asarray(ClassDrawing(IMAGE, CLASSES).colors())
    theirs = (255 * palette()[CLASSES[0].long()]).round().numpy()
    assert np.array_equal(colors, theirs)


def test_an_overlay_is_half_the_image_in_grey_and_half_the_prediction():
    grey = 255 * (0.299 * IMAGE[0] + 0.587 * IMAGE[1] + 0.114 * IMAGE[2])[..., None].numpy()
    for drawing in (DepthDrawing(IMAGE, DEPTH), ClassDrawing(IMAGE, CLASSES)):
        colors = np.asarray(drawing.colors()).astype(float)
        assert np.abs(np.asarray(drawing.overlay()) - (colors + grey) / 2).max() <= 1.5


def test_a_legend_names_the_classes_that_are_there_the_largest_first():
    classes = torch.cat(
        [CLASSES, torch.full((1, 30, 20), 7.0), torch.full((1, 30, 1), torch.nan)], 2
    )
    drawing = ClassDrawing(torch.rand(3, 30, 61), classes, names=("road", "", "", "car"))
    assert drawing.present() == [(7, "class 7  55.6%"), (3, "car  22.2%"), (0, "road  22.2%")] or (
        drawing.present() == [(7, "class 7  55.6%"), (0, "road  22.2%"), (3, "car  22.2%")]
    )


def test_a_legend_breaks_its_rows_and_shows_every_color():
    drawing = ClassDrawing(IMAGE, CLASSES, names=["a class of a very long name"] * 8)
    sheet = drawing.sheet()
    pixels = np.asarray(sheet)
    below = pixels[-80:].reshape(-1, 3).tolist()
    for number in (0, 3, 7):
        assert (255 * palette()[number]).round().int().tolist() in below
    wide = with_legend(sheet, [(0, "one")])
    assert (
        sheet.width == wide.width and pixels[-1].reshape(-1, 3).tolist() == [[*PAPER]] * sheet.width
    )


def test_large_images_are_made_smaller_on_a_sheet():
    image, depth = torch.rand(3, 700, 1400), torch.rand(1, 700, 1400)
    for drawing in (DepthDrawing(image, depth), ClassDrawing(image, (5 * depth).round())):
        assert 2 * TILE < drawing.sheet().width < 2 * TILE + 50
        assert drawing.colors().size == (1400, 700)


def test_a_prediction_without_any_number_is_drawn_too():
    nothing = torch.full((1, 30, 40), torch.nan)
    for drawing in (DepthDrawing(IMAGE, nothing), ClassDrawing(IMAGE, nothing)):
        assert drawing.sheet().width > 0 and drawing.overlay().size == (40, 30)
