"""The Fourier spectrum of features: the authors' numbers, and signals whose spectrum is known."""

from math import log, pi

import pytest
import torch

from conftest import golden, tiny
from sgmim.analysis import figure
from sgmim.analysis.base import Subject
from sgmim.analysis.spectrum import Spectrum, half_diagonal, log_amplitudes


def curve(features, **options):
    return half_diagonal(log_amplitudes(features), **options)


def test_a_curve_is_that_of_the_authors_code():
    _, io = golden("analysis")
    for tokens, theirs in zip(io["features"], io["fourier_curve"], strict=True):
        features = tokens.transpose(1, 2).unflatten(2, (6, 6))
        frequencies, ours = zip(*curve(features), strict=True)
        torch.testing.assert_close(torch.tensor(ours), theirs, rtol=1e-4, atol=1e-5)
        assert frequencies == pytest.approx((0, 2 / 6, 4 / 6))


def grating(height, width, frequency):
    """A wave along the diagonal, of so many π in both directions, on an empty map."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return torch.cos(pi * frequency * (rows + columns))[None, None]


@pytest.mark.parametrize("shape", [(8, 8), (12, 12), (9, 9), (4, 12)])
def test_a_grating_peaks_at_its_own_frequency(shape):
    for step in range(1, (min(shape) + 1) // 2):
        frequency = 2 * step / min(shape)
        found = dict(curve(grating(*shape, frequency)))
        assert max(found, key=found.get) == pytest.approx(frequency)


def test_white_noise_is_real_at_the_ends_of_its_spectrum_alone():
    noise = torch.randn(64, 32, 14, 14, generator=torch.Generator().manual_seed(0))
    (_, zero), *ordinary, (highest, nyquist) = curve(noise, nyquist=True)
    assert zero == 0 and highest == 1
    assert nyquist == pytest.approx(0, abs=0.1)
    for _, delta in ordinary:  # E log|complex| - E log|real|, of the same variance
        assert delta == pytest.approx(log(2) / 2, abs=0.1)


def test_the_highest_frequency_is_named_as_what_it_is():
    for side, highest in [(6, 2 / 3), (12, 5 / 6), (14, 6 / 7), (24, 11 / 12), (48, 23 / 24)]:
        *_, (frequency, _) = half_diagonal(torch.randn(side, side))
        assert frequency == pytest.approx(highest)


def test_a_map_that_is_stretched_has_the_spectrum_it_had():
    torch.manual_seed(0)
    features = torch.randn(4, 8, 6, 6)
    repeated = torch.cat([features, features], dim=3)  # every frequency at twice the bin, times 2
    for (_, one), (_, other) in zip(curve(features), curve(repeated), strict=True):
        assert other == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("encoder", ["vit", "swin"])
def test_every_layer_has_a_curve_and_is_drawn(encoder):
    torch.manual_seed(0)
    seen = Subject("one", tiny(encoder, (64, 128)).eval(), "imagenet")
    images = torch.randn(3, 3, 64, 128)
    with torch.no_grad():
        at_once = Spectrum(nyquist=True).look(seen, [{"image": images}])
        in_parts = Spectrum(nyquist=True).look(seen, [{"image": images[:2]}, {"image": images[2:]}])
    for one, other in zip(at_once.rows, in_parts.rows, strict=True):
        assert other["delta"] == pytest.approx(one["delta"], abs=1e-5)
    layers = {row["layer"] for row in at_once.rows}
    assert len(layers) == {"vit": 2, "swin": 4}[encoder]
    with figure.style():
        drawn = Spectrum().draw({"one": at_once, "two": in_parts})
    titles = [axes.get_title() for axes in drawn.findobj(lambda part: hasattr(part, "get_title"))]
    assert {"one", "two"} <= set(titles)


def test_curves_on_other_grids_have_axes_of_their_own():
    torch.manual_seed(0)
    found = {}
    for name, size in [("small", 64), ("large", 96)]:
        seen = Subject(name, tiny("vit", (size, size)).eval(), "imagenet")
        with torch.no_grad():
            found[name] = Spectrum().look(seen, [{"image": torch.randn(2, 3, size, size)}])
    with figure.style():
        drawn = Spectrum().draw(found)
    drawn.draw_without_rendering()
    depths = [axes for axes in drawn.axes if axes.get_title().startswith("Each layer")]
    assert [len(axes.lines) for axes in depths] == [1, 1]
