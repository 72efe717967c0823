"""PSNR and SSIM, ours against torchmetrics', and what they are measured on."""

import pytest
import torch

from conftest import batch_for, tiny
from sgmim.analysis import figure
from sgmim.analysis.base import Subject
from sgmim.analysis.fidelity import WINDOW, psnr, squared_error, ssim
from sgmim.analysis.reconstruction import Reconstruction
from sgmim.errors import ConfigurationError
from sgmim.methods.mae import MAE
from sgmim.methods.mocov3 import MoCoV3
from sgmim.methods.simmim import SimMIM
from sgmim.options import contents

PAINTERS = [kind for name, kind in contents("methods").items() if name not in ("mocov3", "dino")]


def pair(seed=0):
    torch.manual_seed(seed)
    image = torch.rand(3, 3, 40, 32)
    return image, (image + 0.1 * torch.randn_like(image)).clamp(0, 1)


def test_psnr_and_ssim_of_whole_images_are_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    image, other = pair()
    everywhere = torch.ones(3, 40, 32, dtype=torch.bool)
    for span in (1.0, 4.7):
        theirs = functional.structural_similarity_index_measure(
            other, image, data_range=span, reduction="none"
        )
        torch.testing.assert_close(ssim(other, image, everywhere, span), theirs, rtol=0, atol=2e-5)
        theirs = functional.peak_signal_noise_ratio(
            other, image, data_range=span, reduction="none", dim=(1, 2, 3)
        )
        ours = psnr(squared_error(other, image, everywhere), span)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_what_lies_elsewhere_does_not_count():
    image, other = pair()
    where = torch.zeros(3, 40, 32, dtype=torch.bool)
    where[:, 10:20, 8:20] = True
    far = torch.ones(3, 1, 40, 32, dtype=torch.bool)
    reach = WINDOW // 2
    far[:, :, 10 - reach : 20 + reach, 8 - reach : 20 + reach] = False
    altered = other.where(~far, 0.5)
    assert torch.equal(squared_error(altered, image, where), squared_error(other, image, where))
    one, same = ssim(altered, image, where, 1.0), ssim(other, image, where, 1.0)
    torch.testing.assert_close(one, same, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", PAINTERS)
def test_where_an_image_was_seen_a_painting_is_the_image(kind):
    torch.manual_seed(0)
    method = kind(tiny("vit", (64, 64))).eval()
    batch = batch_for(method)
    with torch.no_grad():
        painting = method.paint({name: batch[name] for name in (*method.paints_from, "key")})
    hidden = painting.hidden.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
    assert hidden.any() and not hidden.all()
    assert painting.seen.isnan().equal(hidden.expand_as(painting.seen))
    assert painting.filled.isfinite().all()
    assert painting.filled.where(~hidden, 0).equal(batch["image"].where(~hidden, 0))


def test_what_paints_nothing_says_so():
    torch.manual_seed(0)
    method = MoCoV3(tiny("vit", (64, 64)))
    subject = Subject("moco", method.encoder, "imagenet", method=method)
    with pytest.raises(ConfigurationError, match="paints no images; simmim"):
        Reconstruction().needed(subject)
    with pytest.raises(ConfigurationError, match="MoCoV3 paints no images"):
        method.paint({})


def test_colors_that_the_image_itself_had_to_tell_are_not_measured():
    method = SimMIM(tiny("vit", (64, 64)), target_window=5)
    subject = Subject("windowed", method.encoder, "imagenet", method=method)
    with pytest.raises(ConfigurationError, match="target_window"):
        Reconstruction().look(subject, [batch_for(method)])


LIGHT = {"decoder_depth": 1, "decoder_width": 48, "decoder_heads": 3}


@pytest.mark.parametrize("kind, options", [(SimMIM, {}), (MAE, LIGHT)])
def test_scores_are_of_images_not_of_batches_and_are_drawn(kind, options):
    torch.manual_seed(0)
    method = kind(tiny("vit", (64, 64)), **options).eval()
    subject = Subject("one", method.encoder, "half", method=method)
    batch = {
        name: value for name, value in batch_for(method, 3).items() if name in ("image", "key")
    }
    parts = [{name: value[i : i + 2] for name, value in batch.items()} for i in (0, 2)]
    with torch.no_grad():
        whole, apart = (Reconstruction().look(subject, batches) for batches in ([batch], parts))
    assert [row["part"] for row in whole.rows][:2] == ["hidden", "filled"]
    for one, other in zip(whole.rows, apart.rows, strict=True):
        assert other["part"] == one["part"]
        for name in ("images", "psnr", "psnr_of_mean_error", "ssim", "ssim_deviation"):
            assert other[name] == pytest.approx(one[name], rel=1e-4)
    hidden, filled = (whole.numbers[f"PSNR (dB), {part}"] for part in ("hidden", "filled"))
    assert hidden < filled
    with figure.style():
        drawn = Reconstruction().draw({"a": whole, "b": apart})
    assert len(drawn.axes) == 3 * 5 + 2
