import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import (
    AutoImageProcessor,
    AutoModelForDepthEstimation,
    DepthProImageProcessor,
    pipeline,
)

from conftest import close
from sgmim.data.stored import Note
from sgmim.errors import ConfigurationError
from sgmim.knowledge.depth import Depth, lower_bound, maker
from sgmim.knowledge.teachers.licenses import Origin
from sgmim.knowledge.teachers.pretrained import Pretrained
from tiny_teachers import folder

KINDS = {
    "depth_anything": ("inverse", "near_high"),
    "metric_depth": ("metric", "far_high"),
    "dpt": ("inverse", "near_high"),
    "glpn": ("metric", "far_high"),
    "zoedepth": ("metric", "far_high"),
}


def photo(height=70, width=100):
    """Smooth, as photographs are, so that rounding to 8 bits on the way tells little."""
    noise = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    image = F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * image).round().to(torch.uint8)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_says_what_it_gives(name):
    made = maker(teacher=str(folder(name)))
    assert (made.note.kind, made.note.direction) == KINDS[name]
    depth = made(photo() / 255)
    assert depth.shape[:2] == (1, 1)
    assert depth.isfinite().all()
    assert depth.std() > 0


@pytest.mark.parametrize("name", KINDS)
def test_it_is_what_transformers_says_of_the_photograph(name):
    """Its processor is given the photograph of 8 bits, by way of Pillow."""
    image, path = photo(), folder(name)
    processor = AutoImageProcessor.from_pretrained(path)
    model = AutoModelForDepthEstimation.from_pretrained(path)
    size = {}
    if name in ("depth_anything", "metric_depth"):  # made to show the shorter side whole
        size = {"size": {"height": 56, "width": 84}, "keep_aspect_ratio": False}
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    shown = processor(picture, return_tensors="pt", **size)
    with torch.no_grad():
        said = model(**shown)
    sizes = {"source_sizes": [(70, 100)]} if name == "zoedepth" else {}
    (theirs,) = processor.post_process_depth_estimation(said, **sizes)
    made, seen = maker(teacher=str(path)), []
    made.teacher.model.register_forward_pre_hook(
        lambda model, args, words: seen.append(words["pixel_values"]), with_kwargs=True
    )
    ours, theirs = made(image / 255)[0, 0], theirs["predicted_depth"]
    # the processor rounds the resized image to 8 bits, which nobody has to
    spread = min(getattr(processor, "image_std", None) or [1.0])
    assert (seen[0] - shown["pixel_values"]).abs().max() < 1.1 / 255 / spread
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.02 * (theirs.max() - theirs.min())


def test_it_is_not_the_picture_of_8_bits():
    path = str(folder("dpt"))
    picture = Image.fromarray(photo()[0].permute(1, 2, 0).numpy())
    shown = np.asarray(pipeline("depth-estimation", path)(picture)["depth"])
    assert len(np.unique(shown)) <= 256
    assert len(maker(teacher=path)(photo() / 255).unique()) > 800  # of 32 x 32 pixels


@pytest.mark.parametrize("name", ["depth_anything", "metric_depth", "dpt", "glpn"])
def test_half_precision_makes_no_stairs(name):
    made, image = maker(teacher=str(folder(name))), photo(140, 200) / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        depth = made(image)
    assert depth.dtype == torch.float32
    assert len(depth[depth > 0].unique()) > 0.8 * (depth > 0).sum()


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_gives_what_its_images_give_alone(name):
    made = maker(teacher=str(folder(name)))
    images = torch.rand(3, 3, 70, 100, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([made(image[None]) for image in images])
    close(made(images), alone)


@pytest.mark.parametrize(  # as the code of Depth Anything V2's authors: "lower_bound" of 518
    ("height", "width", "shown"),
    [
        (375, 500, (518, 686)),
        (375, 1242, (518, 1722)),
        (480, 640, (518, 686)),
        (500, 375, (686, 518)),
        (518, 518, (518, 518)),
    ],
)
def test_the_shorter_side_is_shown_whole(height, width, shown):
    assert lower_bound(height, width, (518, 518), 14) == shown


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (56, 84)),
        ({"size": 112}, (112, 154)),
        ({"square": True}, (56, 56)),
        ({"size": 84, "square": True}, (84, 84)),
    ],
)
def test_the_size_that_it_is_shown_may_be_chosen(options, shape):
    made = maker(teacher=str(folder("depth_anything")), **options)
    assert made(photo() / 255).shape[2:] == shape


def test_a_size_that_cannot_be_is_said():
    with pytest.raises(ConfigurationError, match="own size"):
        maker(teacher=str(folder("glpn")), size=64)


def test_depth_pro_gives_meters_by_the_field_of_view_that_it_sees():
    class Says:
        """What DepthPro says: inverse depth as of a lens that is as long as the image is wide."""

        predicted_depth = torch.full((2, 4, 4), 0.5)
        field_of_view = torch.tensor([90.0, 60.0])

    class Model(torch.nn.Module):
        config = type("Config", (), {"model_type": "depth_pro"})

        def forward(self, pixel_values):
            return Says

    processor = DepthProImageProcessor(size={"height": 8, "width": 8})
    made = Depth(Pretrained(Model(), processor, Origin("a test")), Note())(torch.rand(2, 3, 20, 30))
    focal = 0.5 / torch.tan(torch.deg2rad(Says.field_of_view) / 2)  # in widths of the image
    close(made[:, 0, 0, 0], 2 * focal)


def test_what_is_told_of_a_teacher_goes_before_what_is_known():
    made = maker(teacher=str(folder("dpt")), kind="relative", direction="far_high")
    assert (made.note.kind, made.note.direction) == ("relative", "far_high")
    assert maker(teacher=str(folder("dpt")), kind="metric").note.direction == "far_high"
