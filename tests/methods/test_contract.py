"""What every method promises on every encoder it takes."""

import pytest
import torch

from conftest import batch_for
from roster import FORMS, JOINT, METHODS, made, pairs, params
from toys import trained

PAINTERS = [pair for pair in pairs() if FORMS[pair[0]][0] not in JOINT]


@pytest.fixture
def method(request):
    torch.manual_seed(0)
    return made(*request.param)


every = pytest.mark.parametrize("method", params(pairs()), indirect=True)
painting = pytest.mark.parametrize("method", params(PAINTERS), indirect=True)


@every
def test_it_learns_and_leaves_no_parameter_without_gradient(method):
    batch = batch_for(method, size=8 if isinstance(method, JOINT) else 2)
    losses = trained(method, batch, steps=6, lr=2e-3)
    assert losses[-1] < losses[1]  # KAMIM's token begins at 0, and its first step goes too far
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]


@every
def test_it_needs_no_more_than_it_says(method):
    batch = batch_for(method)
    method({name: batch[name] for name in (*method.needs, "key")})


@painting
def test_what_it_does_to_an_image_does_not_depend_on_the_rest_of_the_batch(method):
    batch = batch_for(method, size=3)
    both = method({name: tensor[:2] for name, tensor in batch.items()})
    alone = [method({name: t[i : i + 1] for name, t in batch.items()}) for i in range(2)]
    for name, loss in both.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        torch.testing.assert_close(loss, mean, rtol=1e-5, atol=1e-6)


@painting
def test_the_pictures_show_every_image_whole(method):
    batch = batch_for(method)
    pictures = method.eval().pictures(batch)
    assert {"image", "image, hidden", "image, painted"} <= pictures.keys()
    for picture in pictures.values():
        assert picture.shape[0] == 2 and picture.shape[2:] == batch["image"].shape[2:]
    assert pictures["image, painted"].isfinite().all()


@painting
def test_nothing_it_paints_depends_on_image_patches_that_are_hidden(method):
    batch = batch_for(method)
    one = method.eval().pictures(batch)
    hidden = one["image, hidden"].isnan()
    other = batch | {"image": batch["image"].where(~hidden, torch.randn_like(batch["image"]))}
    two = method.pictures(other)
    assert hidden.any() and not hidden.all()
    painted = "image, painted"
    torch.testing.assert_close(one[painted], two[painted], rtol=0, atol=0)
    answers = [name for name in one if name.endswith("predicted")]
    for name in answers:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("method", params(pairs(["vit"], METHODS)), indirect=True)
def test_the_pictures_of_crops_are_whole_too(method):
    batch = batch_for(method)
    for picture in method.eval().pictures(batch).values():
        assert len(picture) == 2 and picture[0].dim() == 3


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("form", METHODS)
def test_it_takes_images_of_any_channels(form, channels):
    method = made(form, "vit", channels=channels)
    assert sum(method(batch_for(method)).values()).isfinite()
