"""Weights that are of something else, or not whole: refused, with the reason."""

import json

import pytest
import torch
from safetensors.torch import save_file

from conftest import TINY, tiny
from sgmim.encoders.files import initialize, save_encoder
from sgmim.errors import DataError, FileError

pytestmark = pytest.mark.slow

SIZE = 64


def states():
    """Weights that do not fit the tiny ViT, and what is said of them."""
    good = tiny("vit", image_size=SIZE).backbone.state_dict()
    names = sorted(good)
    for name in TINY:
        if name != "vit":
            other = tiny(name, image_size=SIZE).backbone.state_dict()
            yield other, "do not fit"
            yield {f"encoder.{key}": tensor for key, tensor in other.items()}, "do not fit"
    yield {}, "a file without tensors"
    for number in (1, 2, len(names) // 2, len(names) - 3):  # two of its tensors, and silence
        yield {key: good[key] for key in names[:number]}, "at least 95%"
    for share in (0.2, 0.5, 0.9):
        kept = names[: int(share * len(names))]
        yield {key: good[key] for key in kept} | {"other": torch.zeros(3)}, "missing"
    yield (
        {f"backbone.visual.{key}": tensor for key, tensor in good.items()},
        "nothing that is known",
    )
    yield {key.upper(): tensor for key, tensor in good.items()}, "nothing that is known"
    yield {key: tensor[..., :1] for key, tensor in good.items()}, "do not fit"
    yield {key: torch.zeros(3) for key in good}, "do not fit"
    yield {key: tensor.flatten()[:0] for key, tensor in good.items()}, "do not fit"
    yield {key: torch.zeros(tensor.shape, dtype=torch.int64) for key, tensor in good.items()}, ""
    yield {key: tensor.to_sparse() for key, tensor in good.items()}, ""
    for bad in (torch.nan, torch.inf):
        for place in (names[0], names[-1]):
            yield good | {place: torch.full_like(good[place], bad)}, f"not finite, in {place}"
    for odd in ({}, {"model": {}}, {"epoch": 3, "lr": 0.1}, {"model": 3}, {1: torch.zeros(2)}):
        yield odd, "do not fit"
    for strange in ([], [torch.zeros(2)], torch.zeros(3), 7, None, "weights"):
        yield strange, "holds no tensors by name"


def broken_files(folder):
    """Files that hold no weights at all, and what is said of them."""
    folder.mkdir()
    encoder = tiny("vit", image_size=SIZE)
    save_encoder(encoder, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    torch.save(encoder.backbone.state_dict(), folder / "whole.pth")
    pickled = (folder / "whole.pth").read_bytes()
    contents = {
        "cut.safetensors": whole[: len(whole) // 2],
        "empty.safetensors": b"",
        "page.safetensors": b"<html>404</html>",
        "cut.pth": pickled[: len(pickled) // 2],
        "empty.pth": b"",
        "page.pth": b"<html>404</html>",
        "lfs.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "other.pth": whole,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name, "safetensors" if name.endswith("safetensors") else "no checkpoint"
    yield folder / "nowhere.pth", "there is no encoder"
    save_file(encoder.backbone.state_dict(), folder / "lies.safetensors", {
        "name": "vit_tiny_patch16_224", "options": json.dumps({"img_size": [SIZE, SIZE]}),
    })  # fmt: skip
    yield folder / "lies.safetensors", "describes no encoder"


def test_wrong_weights_are_refused_with_the_reason(tmp_path, recorded):
    cases = []
    for number, (state, reason) in enumerate(states()):
        path = tmp_path / f"{number}.pth"
        torch.save(state, path)
        cases.append((path, reason))
    cases += broken_files(tmp_path / "broken")
    assert len(cases) >= 40
    kept = 0
    for path, reason in cases:
        encoder = tiny("vit", image_size=SIZE)
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        try:
            initialize(encoder, path)
            print(path.name, "was taken")
            continue
        except (DataError, FileError) as error:
            said = str(error)
            told = reason in said and "\n" not in said
        as_it_was = all(torch.equal(before[n], t) for n, t in encoder.state_dict().items())
        kept += told and as_it_was
        if not told:
            print(path.name, reason, said)
    recorded("wrong weights", "refused, with the reason, and nothing loaded", len(cases), kept)
