"""What several tests need: the authors' numbers, and when two tensors count as the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sgmim.encoders import Encoder, make_encoder
from sgmim.objective import Objective

OWN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared" / "golden"

torch.set_num_threads(1)


def case(name: str) -> Path:
    """The folder of a case: small ones travel with the tests, others lie beside the checkout."""
    for root in (OWN, SHARED):
        if (root / name / "meta.json").exists():
            return root / name
    pytest.skip(f"the authors' numbers for {name} are not here: expected in {SHARED.name}/golden")


def golden(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What was computed with the authors' code: its description, inputs and outputs."""
    folder = case(name)
    return json.loads((folder / "meta.json").read_text()), load_file(folder / "io.safetensors")


def official(name: str) -> dict[str, Any]:
    """The weights of a case, in the authors' layout."""
    folder = case(name)
    if (folder / "checkpoint.pth").exists():
        return torch.load(folder / "checkpoint.pth", weights_only=True)
    return load_file(folder / "weights.safetensors")


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """Forward tensors agree: the rule of the golden README."""
    torch.testing.assert_close(
        ours.float(),
        theirs.float(),
        rtol=tolerance,
        atol=tolerance * max(1.0, theirs.abs().max().item()),
    )


def close_gradient(ours: Tensor | None, theirs: Tensor) -> None:
    """Gradients agree to 1e-4 of the largest entry of the tensor."""
    assert ours is not None
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def swin(config: dict[str, Any]) -> Encoder:
    """The Swin of a golden case, in timm."""
    return make_encoder(
        "swin_tiny_patch4_window7_224",
        image_size=config["img_size"],
        window=config["window_size"],
        options={name: config[name] for name in ("embed_dim", "depths", "num_heads", "mlp_ratio")},
    )


def vit(config: dict[str, Any], **options: Any) -> Encoder:
    """The ViT of a golden case, in timm."""
    return make_encoder(
        "simmim_vit_base_patch16",
        image_size=config["img_size"],
        options={name: config[name] for name in ("embed_dim", "depth", "num_heads")} | options,
    )


def fixed(method: Objective, hidden: Tensor) -> Objective:
    """The method with the drawing of masks replaced by a given mask."""
    kind = type(method.mask)
    drawn = {"__call__": lambda self, keys, stream=0: hidden}
    method.mask.__class__ = type("Fixed", (kind,), drawn)
    return method


TINY = {
    "vit": ("vit_tiny_patch16_224", {"embed_dim": 48, "depth": 2, "num_heads": 3}),
    "simmim_vit": ("simmim_vit_tiny_patch16", {"embed_dim": 48, "depth": 2}),
    "rotary_vit": ("rotary_vit_tiny_patch16", {"embed_dim": 48, "depth": 2, "num_heads": 3}),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 2, 1, 1)}),
    "swinv2": ("swinv2_tiny_window8_256", {"embed_dim": 24, "depths": (1, 2, 1, 1)}),
}


def tiny(encoder, image_size=(64, 96), **options):
    name, shape = TINY[encoder]
    return make_encoder(name, image_size=image_size, options=shape, **options)


def batch_for(method, size=2, seed=1):
    torch.manual_seed(seed)
    height, width = method.encoder.image_size
    return {
        "image": torch.randn(size, method.encoder.channels, height, width),
        "second": torch.randn(size, method.encoder.channels, height, width),
        "depth": torch.rand(size, 1, height, width),
        "normals": torch.randn(size, 3, height, width),
        "edges": torch.rand(size, 1, height, width) ** 4,
        "classes": torch.randint(5, (size, 1, height, width)).float(),
        "fast": (torch.rand(size, 1, height, width) < 0.02).float(),
        "view": torch.randn(size, method.encoder.channels, height, width),
        "parts": torch.randn(size, 3, method.encoder.channels, height // 2, width // 2),
        "key": torch.arange(size) + 7 * seed,
    }
