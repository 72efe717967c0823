"""The labels that MultiMAE's authors released for ImageNet: {split}/{kind}/{class}/{stem}.{ext}."""

import numpy as np
import pytest
import torch
from PIL import Image

from sgmim.data.batches import Batches
from sgmim.data.images import Images
from sgmim.sources import make_source

HEIGHT, WIDTH = 37, 53
STEMS = ("n01440764/n01440764_10026", "n02102040/n02102040_7")


@pytest.fixture(params=[".JPX", ".png"])
def imagenet(request, tmp_path):
    """Photographs, depth as 16-bit JPEG 2000 or PNG, and COCO's classes as 8-bit PNG."""
    rng, truth = np.random.default_rng(0), {}
    for stem in STEMS:
        made = {
            f"rgb/{stem}.JPEG": rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
            f"depth/{stem}{request.param}": rng.integers(0, 65536, (HEIGHT, WIDTH), np.uint16),
            f"semseg/{stem}.png": rng.integers(0, 133, (HEIGHT, WIDTH), dtype=np.uint8),
        }
        for name, numbers in made.items():
            path = tmp_path / "train" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            formats = {".JPX": "JPEG2000", ".JPEG": "JPEG", ".png": "PNG"}
            Image.fromarray(numbers).save(path, formats[path.suffix])
            truth[name.partition("/")[0], stem] = numbers
    return tmp_path / "train", truth


def test_they_are_read_as_they_are(imagenet):
    folder, truth = imagenet
    source = Images(folder / "rgb", {"depth": folder / "depth", "segments": folder / "semseg"})
    assert [name.removesuffix(".JPEG") for name in source.names] == list(STEMS)
    for index, stem in enumerate(STEMS):
        sample = source.read(index)
        depth = torch.from_numpy(truth["depth", stem].astype(np.float32) / 2**16)
        assert torch.equal(sample["depth"][0], depth)  # value / 2^16, in [0, 1)
        classes = torch.from_numpy(truth["semseg", stem].astype(np.float32))
        assert torch.equal(sample["segments"][0], classes)


def test_a_batch_has_no_classes_that_were_not_there(imagenet):
    folder, truth = imagenet
    source = make_source(
        images=folder / "rgb", maps={"depth": folder / "depth", "segments": folder / "semseg"}
    )
    assert source is not None
    batch = next(Batches(source, size=(16, 16), batch=2, needs=("depth", "segments"), workers=0)())
    there = {float(n) for (kind, _), map in truth.items() if kind == "semseg" for n in map.flat}
    assert set(batch["segments"].unique().tolist()) <= there
    assert batch["depth"].min() > 0 and batch["depth"].max() < 1
