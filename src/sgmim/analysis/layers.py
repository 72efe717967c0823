"""What lies between an image and its features: the layers of an encoder, named as people do."""

from jaxtyping import Float
from torch import Tensor

from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError, listed


def layer_names(encoder: Encoder) -> list[str]:
    """All blocks of a ViT, all stages of a Swin, counted from 1."""
    kind = "block" if encoder.is_plain else "stage"
    count = len(encoder.blocks if encoder.is_plain else encoder.widths)
    return [f"{kind} {number}" for number in range(1, count + 1)]


def chosen(encoder: Encoder, layers: tuple[int, ...] | None) -> dict[str, int]:
    """Some layers, counted from 1, or all: their names, and their places from 0.

    Raises:
        ConfigurationError: there is no such layer.
    """
    names = layer_names(encoder)
    if unknown := [layer for layer in layers or () if not 1 <= layer <= len(names)]:
        raise ConfigurationError(
            f"{encoder.name} has no layer {unknown[0]}; there is {listed(names)}"
        )
    places = range(len(names)) if layers is None else [layer - 1 for layer in layers]
    return {names[place]: place for place in places}


def layer_maps(
    encoder: Encoder, image: Float[Tensor, "b c H W"], layers: dict[str, int]
) -> dict[str, Float[Tensor, "b _ _ _"]]:
    """The outputs of `chosen` layers as maps: patch tokens alone, before a ViT's final norm; the
    last stage of a Swin through its final norm."""
    places = tuple(sorted(layers.values()))
    maps = dict(zip(places, encoder.pyramid(image, places), strict=True))
    return {name: maps[place] for name, place in layers.items()}
