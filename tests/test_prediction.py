import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sgmim
from conftest import tiny
from sgmim.encoders.files import save_encoder
from sgmim.errors import ConfigurationError, DataError
from sgmim.finished import Finished
from sgmim.inference import Inference
from sgmim.prediction import Predictor, as_colors, load_task
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.heads.linear import LinearHead
from sgmim.tasks.segmentation import SemanticSegmentation

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
TASKS = {
    "depth": lambda encoder: DepthEstimation(encoder, LinearHead),
    "segmentation": lambda encoder: SemanticSegmentation(encoder, LinearHead, classes=7),
}


def predictor(task, folder, **inference):
    torch.manual_seed(0)
    model = TASKS[task](tiny("vit", (32, 32))).eval()
    names = {"classes": ["road", "sky"]} if task == "segmentation" else {}
    save_encoder(model.encoder, folder, **names)
    return Predictor(folder, Finished(task, model, "imagenet", Inference()), **inference)


@pytest.fixture(params=TASKS)
def model(request, tmp_path):
    return predictor(request.param, tmp_path)


def test_images_of_every_kind_get_the_same_answer_at_their_own_size(model, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    colors = torch.from_numpy(PIXELS).permute(2, 0, 1)
    kinds = (
        tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(PIXELS), PIXELS,
        PIXELS[:, ::-1][:, ::-1], colors, colors / 255, (colors / 255).double(),
    )  # fmt: skip
    answers = [model.predict(image) for image in kinds]
    assert answers[0].shape == (1, 30, 44)
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0])


def test_depth_is_in_meters_and_has_no_logits(tmp_path):
    model = predictor("depth", tmp_path)
    depth = model.predict(PIXELS)
    assert depth.dtype == torch.float32 and 0 < depth.min() < depth.max() < 10
    assert model.map == "depth" and model.classes == () and not depth.requires_grad
    with pytest.raises(ConfigurationError, match="no logits"):
        model.predict(PIXELS, logits=True)


def test_classes_are_those_of_the_largest_logits(tmp_path):
    model = predictor("segmentation", tmp_path)
    classes, logits = model.predict(PIXELS), model.predict(PIXELS, logits=True)
    assert logits.shape == (7, 30, 44) and classes.dtype == torch.int64
    assert torch.equal(classes, logits.argmax(0, keepdim=True)) and len(classes.unique()) > 1
    assert model.map == "classes" and model.classes == ("road", "sky")


def test_it_is_a_module_that_answers_batches_and_has_gradients(model):
    image = torch.rand(2, 3, 30, 44, requires_grad=True)
    said = model(image)
    assert isinstance(model, nn.Module) and said.shape[0] == 2 and said.shape[2:] == (30, 44)
    assert said.requires_grad
    one = model.predict(image[1].detach())
    torch.testing.assert_close(model.answer(said)[1].detach(), one)


def test_images_are_shown_as_asked(tmp_path):
    plain, flip = (predictor("depth", tmp_path, **how) for how in ({}, {"flip": True}))
    image = torch.rand(1, 3, 32, 32)
    mirrored = plain(image.flip(-1)).flip(-1)
    torch.testing.assert_close(flip(image), (plain(image) + mirrored) / 2)


@pytest.mark.parametrize(
    "image",
    [PIXELS[..., 0], PIXELS / 255, PIXELS.transpose(2, 0, 1), torch.zeros(1, 4, 4),
     torch.zeros(3, 4, 4).long(), torch.zeros(1, 3, 4, 4)],
)  # fmt: skip
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ConfigurationError, match="an image is a path"):
        as_colors(image)


def test_colors_that_were_normalized_before_are_told_of():
    with pytest.raises(DataError, match=r"from 0 to 1.*from -2 to 3"):
        as_colors(torch.tensor([-2.0, 0.0, 3.0])[:, None, None])


def test_grey_and_transparent_images_of_pil_are_seen_in_color():
    grey = Image.fromarray(PIXELS[..., 0])
    assert torch.equal(as_colors(grey)[0], as_colors(grey)[2])
    assert as_colors(Image.fromarray(PIXELS).convert("RGBA")).shape == (3, 30, 44)


def test_a_task_is_loaded_from_the_package_itself():
    assert sgmim.load_task is load_task
