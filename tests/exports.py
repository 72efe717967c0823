"""Encoders that are about to leave, and what others say when they have arrived."""

import pytest
import torch

from conftest import tiny
from sgmim.encoders.files import save_encoder
from sgmim.export.subject import open_subject

# Sizes and windows that every format takes: the last stage of a Swin has several whole windows.
SQUARE = {
    "vit": ((64, 64), {}),
    "simmim_vit": ((64, 64), {}),
    "swin": ((64, 64), {"window": 2}),
    "swinv2": ((64, 64), {"window": 2}),
}
OBLONG = {
    "vit": ((64, 96), {}),
    "simmim_vit": ((64, 96), {}),
    "swin": ((128, 192), {"window": 2}),
    "swinv2": ((128, 192), {"window": 2}),
}
CASES = [(name, shape) for name in SQUARE for shape in ("square", "oblong")]


def cases(*quick, but=()):
    """All encoders and shapes, of which those that are not quick wait to be asked for."""
    kinds = [case for case in CASES if case not in but]
    return [pytest.param(*case, marks=[] if case in quick else pytest.mark.slow) for case in kinds]


def kept(name, folder, shape="square", header=None, size=None, **options):
    """A folder with an encoder whose weights are nothing that anything begins with."""
    own, window = (SQUARE if shape == "square" else OBLONG)[name]
    torch.manual_seed(0)
    encoder = tiny(name, size or own, **(window | options))
    stir(encoder)
    told = {"method": "sgmim", "normalization": "half", "license": "MIT"}
    save_encoder(encoder, folder, **(told | (header or {})))
    return folder


def stir(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def leaving(name, folder, shape="square", **options):
    return open_subject(kept(name, folder / "run", shape, **options))


def features(subject, batch=2):
    """Images as the encoder is fed them, and its features of them as tokens (b, n, d)."""
    torch.manual_seed(1)
    image = torch.randn(batch, subject.encoder.channels, *subject.encoder.image_size)
    with torch.no_grad():
        return image, subject.encoder(image).flatten(2).transpose(1, 2)
