"""What a frozen encoder makes of images: a vector of each, from any layer, in any pooling.

>>> encoder, _ = sgmim.load_encoder("runs/pretrain_kamim")
>>> where = features.reading(encoder.eval(), "kamim")
>>> for [vectors], batch in features.extracted(encoder, in_order(source, size=(192, 192)), [where]):
...     vectors  # (b, dim), on the encoder's device
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sgmim.encoders import Encoder
from sgmim.errors import ConfigurationError, unknown
from sgmim.objective import Batch
from sgmim.precision import faster_in_bf16
from sgmim.training import Cast, casting

Layer = int | Literal["last"]
Pool = Literal["cls", "mean", "both"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
PRESETS = ("mae", "kamim")


@dataclass(frozen=True)
class Reading:
    """Where a vector is read in an encoder, and what is made of the tokens there."""

    layer: int  # block of a plain encoder or stage of a hierarchical one, counted from 1
    of: int  # how many there are
    pool: Pool  # the class token, the mean of the patch tokens, or one after the other
    norm: bool  # whether through the final norm before that

    def __str__(self) -> str:
        pool = {"cls": "class token", "mean": "mean of patches", "both": "class token and mean"}
        norm = "after the final norm" if self.norm else "no final norm"
        return f"layer {self.layer} of {self.of}, {pool[self.pool]}, {norm}"


def reading(
    encoder: Encoder,
    preset: str = "mae",
    *,
    layer: Layer | None = None,
    pool: Pool | None = None,
    norm: bool | None = None,
) -> Reading:
    """Where a preset reads an encoder, and whatever else is asked for in its place.

    Args:
        encoder: to be read.
        preset: "mae": the class token after the final norm, the mean of the patch tokens where
            there is none (He et al., 2022, appendix A.1, and its code). "kamim": the mean of the
            patch tokens of block 8 of 12, or as deep in another ViT, and of a Swin's last stage,
            both before the final norm (madhava20217/KAMIM, linear probing).
        layer: counted from 1, or "last".
        pool: "cls", "mean" or "both".
        norm: through the final norm.

    Raises:
        ConfigurationError: the encoder has no such layer, or no class token, or the norm is of
            another width than the layer; or the preset is not known.
    """
    if preset not in PRESETS:
        raise unknown("preset of a probe", preset, PRESETS)
    number = encoder.layer() if layer == "last" else layer
    asked: dict[str, Any] = {"layer": number, "pool": pool, "norm": norm}
    given = {name: value for name, value in asked.items() if value is not None}
    found = replace((_mae if preset == "mae" else _kamim)(encoder), **given)
    _check(encoder, found)
    return found


def _mae(encoder: Encoder) -> Reading:
    last = encoder.layer()
    return Reading(last, last, "cls" if encoder.has_class_token else "mean", norm=True)


def _kamim(encoder: Encoder) -> Reading:
    last = encoder.layer()
    layer = encoder.levels(of_twelve=(8,))[0] + 1 if encoder.is_plain else last
    return Reading(layer, last, "mean", norm=False)


def _check(encoder: Encoder, reading: Reading) -> None:
    encoder.layer(reading.layer, norm=reading.norm)
    if reading.pool != "mean" and not encoder.has_class_token:
        raise ConfigurationError(f"{encoder.name} has no class token: take the pooling 'mean'")


@torch.inference_mode()
def read(
    encoder: Encoder, image: Float[Tensor, "b c H W"], readings: Sequence[Reading]
) -> list[Float[Tensor, "b _"]]:
    """The vectors of images, one matrix a reading, in one forward pass that ends at the deepest."""
    layers = tuple(sorted({reading.layer for reading in readings}))
    levels = tuple(layer - 1 for layer in layers)
    tokens = dict(zip(layers, encoder.outputs(image, levels), strict=True))
    return [_pooled(encoder, tokens[reading.layer], reading) for reading in readings]


def _pooled(
    encoder: Encoder, tokens: Float[Tensor, "b n d"], reading: Reading
) -> Float[Tensor, "b _"]:
    if reading.norm and reading.pool == "cls":
        tokens = tokens[:, :1]  # the norm is of each token by itself
    tokens = encoder.normed(tokens) if reading.norm else tokens
    if reading.pool == "cls":
        return tokens[:, 0].float()
    mean = encoder.without_prefix(tokens).mean(dim=1, dtype=torch.float32)
    return mean if reading.pool == "mean" else torch.cat([tokens[:, 0].float(), mean], dim=1)


def extracted(
    encoder: Encoder,
    batches: Iterable[Batch],
    readings: Sequence[Reading],
    *,
    precision: Precision = "auto",
) -> Iterator[tuple[list[Float[Tensor, "b _"]], Batch]]:
    """The vectors of every batch, and the batch. Nothing here waits for the device.

    Args:
        encoder: in evaluation mode, on the batches' device.
        batches: such as data.batches.in_order has them, normalized as the encoder knows images.
        readings: all are served by one forward pass.
        precision: of the forward pass; "auto" is bf16 where the device is faster in it. Vectors are
            pooled and returned in fp32.
    """
    cast = None
    for batch in batches:
        cast = cast or casting_of(encoder, batch["image"].device, precision)
        with cast():
            vectors = read(encoder, batch["image"], readings)
        yield vectors, batch


def gathered(
    encoder: Encoder,
    batches: Iterable[Batch],
    readings: Sequence[Reading],
    count: int,
    *,
    precision: Precision = "auto",
) -> list[Float[Tensor, "{count} _"]]:
    """The vectors of `count` images in all, on the device: room is made once, nothing waits."""
    banks: list[Tensor] = []
    done = 0
    for vectors, _ in extracted(encoder, batches, readings, precision=precision):
        banks = banks or [torch.empty(count, v.shape[1], device=v.device) for v in vectors]
        for bank, each in zip(banks, vectors, strict=True):
            bank[done : done + len(each)] = each
        done += len(vectors[0])
    assert done == count, "a source has as many samples as it says"
    return banks


def resolved(precision: Precision, device: torch.device) -> Precision:
    """The precision that "auto" is on a device."""
    if precision != "auto":
        return precision
    return "bf16" if faster_in_bf16(device) else "fp32"


def casting_of(encoder: Encoder, device: torch.device, precision: Precision) -> Cast:
    """What the forward pass runs under."""
    if precision == "fp16":
        return lambda: torch.autocast(device.type, torch.float16)
    return casting(encoder, device, precision)
