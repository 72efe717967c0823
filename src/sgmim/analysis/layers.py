"""What lies between an image and its features: the layers of an encoder, named as people do."""

from jaxtyping import Float
from torch import Tensor

from sgmim.encoders.base import Encoder


def layer_names(encoder: Encoder) -> list[str]:
    """All blocks of a ViT, all stages of a Swin, counted from 1."""
    kind = "block" if encoder.is_plain else "stage"
    return [f"{kind} {number}" for number in range(1, len(encoder.layers) + 1)]


def chosen(encoder: Encoder, layers: tuple[int, ...] | None) -> dict[str, int]:
    """Some layers, counted from 1, or all: their names, and their places from 0.

    Raises:
        ConfigurationError: there is no such layer.
    """
    names = layer_names(encoder)
    if layers is None:
        return {name: place for place, name in enumerate(names)}
    places = [encoder.layer(layer) - 1 for layer in layers]
    return {names[place]: place for place in places}


def layer_maps(
    encoder: Encoder, image: Float[Tensor, "b c H W"], layers: dict[str, int]
) -> dict[str, Float[Tensor, "b _ _ _"]]:
    """The outputs of `chosen` layers as maps: of patches alone, and before the final norm."""
    height, width = image.shape[2:]
    maps, places = {}, tuple(layers.values())
    for (name, place), tokens in zip(layers.items(), encoder.outputs(image, places), strict=True):
        stride = encoder.stride if encoder.is_plain else encoder.strides[place]
        cells = encoder.without_prefix(tokens).transpose(1, 2)
        maps[name] = cells.unflatten(2, (height // stride, width // stride))
    return maps
