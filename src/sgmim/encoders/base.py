"""What every encoder offers, whatever its backbone."""

from collections.abc import Iterator
from typing import Any

import timm
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sgmim.errors import ConfigurationError

QUARTERS = (3, 6, 9, 12)  # evenly spaced blocks of twelve, counted from 1


class Encoder(nn.Module):
    """Turns an image into a feature map. It holds exactly the weights that transfer, no others."""

    backbone: nn.Module  # the timm model
    name: str  # with `options`, what timm.create_model rebuilds the backbone from
    options: dict[str, Any]
    image_size: tuple[int, int]  # pixels, down and across, that it is built for
    channels: int  # of an image
    dim: int  # channels of the feature map
    stride: int  # pixels a side of one cell of the feature map
    patch: int  # pixels a side of one input patch
    patch_dim: int  # channels of one embedded patch
    widths: tuple[int, ...]  # channels of the maps of the pyramid
    strides: tuple[int, ...]  # pixels a side of one cell of each
    can_leave_out: bool = False  # whether hidden patches may be absent (see PlainEncoder.trunk_of)
    has_class_token: bool = False  # whether it can tell it (see pyramid_with_class)
    takes_any_size: bool = False  # whether `summary` takes images of another size
    prefix: int = 0  # class and register tokens, which come before those of cells

    @property
    def grid(self) -> tuple[int, int]:
        """How many cells its feature map has, down and across."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    @property
    def is_plain(self) -> bool:
        """Whether all its maps have the stride of its patches, as a ViT's have."""
        return self.stride == self.patch

    @property
    def blocks(self) -> list[nn.Module]:
        """Its repeated parts from first to last: what is shared out and compiled one by one."""
        return []

    def embed(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b h w d"]:
        """Cut into patches and embed each; nothing here knows where a patch lies."""
        raise NotImplementedError

    def trunk(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b dim _ _"]:
        """Everything after the patch embedding."""
        raise NotImplementedError

    def forward(
        self,
        image: Float[Tensor, "b c H W"],
        hidden: Bool[Tensor, "b h w"] | None = None,
        token: Float[Tensor, " d"] | None = None,
    ) -> Float[Tensor, "b dim _ _"]:
        """Encode an image; where `hidden` (one cell a patch), `token` stands in for the patch."""
        patches = self.embed(image)
        if hidden is not None and token is not None:
            patches = token.to(patches.dtype).where(hidden[..., None], patches)
        return self.trunk(patches)

    def walk(self, image: Float[Tensor, "b c H W"]) -> Iterator[Float[Tensor, "b *_"]]:
        """What each of its blocks makes of an image, from the first to the last, as it comes out
        of it: (b, n, d) of a plain encoder, class and register tokens first, (b, h, w, d) of a
        hierarchical one. A block is asked when its turn comes."""
        raise NotImplementedError

    def summary(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b dim"]:
        """One vector an image: the mean of its feature map."""
        return self(image).mean(dim=(2, 3))

    @property
    def layers(self) -> tuple[int, ...]:
        """The channels of each layer that `tokens` can be asked for: blocks of a plain encoder,
        stages of a hierarchical one."""
        return self.widths

    def layer(self, number: int | None = None) -> int:
        """The number of a layer, counted from 1; the last if not given.

        Raises:
            ConfigurationError: there is no such layer.
        """
        number = len(self.layers) if number is None else number
        if not 1 <= number <= len(self.layers):
            kind = "blocks" if self.is_plain else "stages"
            raise ConfigurationError(
                f"{self.name} has {len(self.layers)} {kind}, counted from 1: there is no layer "
                f"{number}"
            )
        return number

    def tokens(
        self, image: Float[Tensor, "b c H W"], layer: int | None = None, *, norm: bool = True
    ) -> Float[Tensor, "b k _"]:
        """What a layer says of an image, token by token: first the `prefix`, then cells row by row.

        Args:
            image: at the encoder's own size.
            layer: counted from 1; the last if not given. Those after it are not run.
            norm: through the final norm.

        Raises:
            ConfigurationError: there is no such layer, or the final norm is not for it.
        """
        layer = self.layer(layer)
        if norm and layer < len(self.layers) and not self.is_plain:
            raise ConfigurationError(
                f"the final norm of {self.name} is for its last stage, not for stage {layer}: take "
                "what it says without that norm"
            )
        (tokens,) = self.outputs(image, (layer - 1,))
        return self.normed(tokens) if norm else tokens

    def beyond(self, layer: int | None = None, *, norm: bool = True) -> list[nn.Parameter]:
        """The parameters that `tokens` of a layer do not depend on."""
        backbone: Any = self.backbone
        parts = self._parts()[self.layer(layer) :] + ([] if norm else [backbone.norm])
        return [parameter for part in parts for parameter in part.parameters()]

    def _parts(self) -> list[nn.Module]:
        """What makes each of the layers."""
        raise NotImplementedError

    def freeze_patches(self) -> None:
        """Leave the linear layer that embeds the patches as it is from now on."""
        backbone: Any = self.backbone
        backbone.patch_embed.proj.requires_grad_(False)

    def levels(
        self, blocks: tuple[int, ...] | None = None, *, of_twelve: tuple[int, ...] = QUARTERS
    ) -> tuple[int, ...]:
        """What a pyramid is made of, counted from 0: blocks of a plain encoder, by default those
        that lie as deep as these of twelve; all stages of a hierarchical one.

        Raises:
            ConfigurationError: there are no such blocks, or none to choose among.
        """
        raise NotImplementedError

    def outputs(
        self, image: Float[Tensor, "b c H W"], levels: tuple[int, ...] | None = None
    ) -> list[Float[Tensor, "b _ _"]]:
        """Tokens as blocks of a plain encoder, or stages of a hierarchical one, leave them: before
        the final norm, class and register tokens first. What comes later is not asked."""
        raise NotImplementedError

    def normed(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        """Tokens through the final norm."""
        backbone: Any = self.backbone
        return backbone.norm(tokens)

    def without_prefix(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b m d"]:
        """Those of patches, without class and register tokens."""
        return tokens

    def pyramid(
        self, image: Float[Tensor, "b c H W"], levels: tuple[int, ...] | None = None
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """Feature maps for dense prediction, from early to late."""
        raise NotImplementedError

    def pyramid_with_class(
        self, image: Float[Tensor, "b c H W"], levels: tuple[int, ...] | None = None
    ) -> tuple[list[Float[Tensor, "b dim h w"]], list[Float[Tensor, "b dim 1 1"]]]:
        """The pyramid, and what the class token is at each of its levels, as a map of one cell.

        Only where `has_class_token` says so.
        """
        raise NotImplementedError

    def unseen(self, levels: tuple[int, ...]) -> list[nn.Parameter]:
        """The parameters that play no part in a pyramid, and so would get no gradient."""
        return []

    def no_decay(self) -> set[str]:
        """Names of positions, tokens and scales among the parameters: weight decay spares them."""
        kinds = ("pos_embed", "_token", "relative_position_bias_table", "cpb_mlp", "logit_scale")
        return {name for name, _ in self.named_parameters() if any(kind in name for kind in kinds)}

    def another(self, channels: int) -> "Encoder":
        """A new encoder of the same kind, with weights of its own, for images of other channels."""
        options = self.options | {"in_chans": channels}
        return type(self)(timm.create_model(self.name, **options), self.name, options)
