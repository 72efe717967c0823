import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

from sgmim.errors import ConfigurationError
from sgmim.knowledge.segments import maker
from tiny_teachers import folder

IMAGE = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "classes"), [("mask2former", 5), ("segformer", 7)])
def test_every_pixel_has_a_class(name, classes):
    made = maker(teacher=str(folder(name)))
    numbers = made(IMAGE)
    assert numbers.shape == (2, 1, 40, 56)
    assert set(numbers.unique().tolist()) <= set(range(classes))
    assert len(numbers.unique()) > 1


def test_it_is_what_transformers_says():
    path = folder("mask2former")
    processor = AutoImageProcessor.from_pretrained(path)
    model = AutoModelForUniversalSegmentation.from_pretrained(path)
    with torch.no_grad():
        said = model(**processor(list(IMAGE), do_rescale=False, return_tensors="pt"))
    theirs = processor.post_process_semantic_segmentation(said, [(40, 56)] * 2)
    ours = maker(teacher=str(path))(IMAGE)
    assert torch.equal(ours[:, 0].long(), torch.stack(list(theirs)))


def test_the_note_says_what_is_stored():
    note = maker(teacher=str(folder("mask2former"))).note
    assert (note.kind, note.scale, note.hole) == ("class", 1.0, 65535.0)
    assert "0 thing 0, 1 thing 1" in note.meaning


def test_a_function_may_know_no_class(tmp_path):
    (tmp_path / "own.py").write_text(
        "def halves(image):\n"
        "    classes = image[:, :1].round() * 7\n"
        "    classes[..., 0] = float('nan')\n"
        "    return classes\n"
    )
    numbers = maker(teacher=f"{tmp_path}/own.py:halves")(IMAGE)
    assert numbers[..., 0].isnan().all()
    assert set(numbers[..., 1:].unique().tolist()) == {0.0, 7.0}


def test_a_model_of_another_task_is_said():
    with pytest.raises(ConfigurationError, match="GLPNForDepthEstimation, which is no Auto"):
        maker(teacher=str(folder("glpn")))


def test_the_license_of_multimaes_teacher_has_to_be_accepted():
    with pytest.raises(ConfigurationError, match="--accept_license"):
        maker()
