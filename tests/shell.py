"""Commands as a user gives them, in this process, on what is small enough for a test."""

import json

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from sgmim.cli import main

ENCODER = (
    "--encoder.name=vit_tiny_patch16_224",
    "--encoder.image_size=32",
    "--encoder.options={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 3}",
)
FEW = (
    "--device=cpu",
    "--training.steps=4",
    "--training.batch=8",
    "--training.lr=1e-3",
    "--training.lr_per=0",
    "--training.precision=fp32",
    "--training.log_every=1",
)
SCENES = ("--data.scenes=24", "--data.scene_size=32")
TINY = (*ENCODER, "--method.mask_size=8", *FEW)


def sgmim(*words):
    """Run a command; returns its exit code."""
    return main([str(word) for word in words])


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run, *names):
    """What the log says of some losses, by step."""
    return {row["step"]: [row[name] for name in names or ("loss",)] for row in log(run)}


def handed_over(run):
    """All that a run hands over, by name."""
    return {
        f"{file} {name}": tensor
        for file in ("encoder.safetensors", "objective.safetensors")
        for name, tensor in load_file(run / file).items()
    }


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def photographs(folder):
    """Photographs of all kinds: color, grey, transparent, for print, lying on their side."""
    rng = np.random.default_rng(0)

    def pixels(*shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    (folder / "summer" / "sea").mkdir(parents=True)
    Image.fromarray(pixels(40, 56, 3)).save(folder / "color.jpg")
    Image.fromarray(pixels(48, 40)).save(folder / "grey.jpg")
    Image.fromarray(pixels(40, 40, 4)).save(folder / "summer" / "transparent.png")
    Image.fromarray(pixels(40, 48, 4), mode="CMYK").save(folder / "summer" / "print.jpg")
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.fromarray(pixels(40, 56, 3)).save(folder / "summer" / "sea" / "turned.jpg", exif=sideways)
    Image.fromarray(pixels(36, 44, 3)).save(folder / "summer" / "sea" / "web.webp")
    return folder


def depth_maps(folder, images):
    """Depth as a sensor stores it: millimeters in 16 bits, 0 in its shadow and on a whole map."""
    rng = np.random.default_rng(1)
    for number, path in enumerate(sorted(p for p in images.rglob("*") if p.is_file())):
        image = Image.open(path)
        width, height = image.size
        if image.getexif().get(0x0112) == 6:
            width, height = height, width
        depth = rng.integers(500, 9000, (height, width)).astype(np.uint16)
        depth[:, : width // 3] = 0
        if number == 0:
            depth[:] = 0
        place = (folder / path.relative_to(images)).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(depth).save(place)
    return folder


def sensor(images, maps):
    """The options for such maps."""
    return (
        f"--data.images={images}",
        f"--data.maps.depth={maps}",
        "--data.scale.depth=1000",
        "--data.hole.depth=0",
    )
