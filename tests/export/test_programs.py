import pytest
import torch
from torch.testing import assert_close

from exports import cases, leaving
from sgmim.export import export


def colors(subject, batch):
    return torch.rand(batch, 3, *subject.encoder.image_size)


@pytest.mark.parametrize("name, shape", cases(("simmim_vit", "oblong")))
def test_torch_runs_it_on_any_number_of_images(name, shape, tmp_path):
    subject = leaving(name, tmp_path, shape)
    export(subject, "torch", tmp_path / "torch")
    model = torch.export.load(tmp_path / "torch" / "encoder.pt2").module()
    for batch in (1, 4):
        image = colors(subject, batch)
        with torch.no_grad():
            assert_close(model(image), subject.encoder(2 * image - 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name, shape", cases(("vit", "oblong")))
def test_onnxruntime_runs_it_on_any_number_of_images(name, shape, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    subject = leaving(name, tmp_path, shape)
    export(subject, "onnx", tmp_path / "onnx")
    session = runtime.InferenceSession(tmp_path / "onnx" / "encoder.onnx")
    assert [one.name for one in session.get_inputs()] == ["image"]
    for batch in (1, 4):
        image = colors(subject, batch)
        (said,) = session.run(["features"], {"image": image.numpy()})
        with torch.no_grad():
            ours = subject.encoder(2 * image - 1)
        assert_close(torch.from_numpy(said), ours, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_an_onnx_file_says_its_opset(tmp_path):
    onnx = pytest.importorskip("onnx")
    outcome = export(leaving("vit", tmp_path), "onnx", tmp_path / "onnx")
    (opset,) = onnx.load(tmp_path / "onnx" / "encoder.onnx").opset_import
    assert f"opset {opset.version}" in outcome.note
