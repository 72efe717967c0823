"""Convolutions and norms that more than one head is built of."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.errors import ConfigurationError


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that says what it lacks; over the images of all processes, as mmsegmentation
    trains its heads (see distributed.parallel.synchronize)."""

    synchronized: ClassVar[bool] = True

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Raises ConfigurationError where there is one number a channel to learn from."""
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            raise ConfigurationError(
                "one image has only one number a channel where it is pooled to a single cell, and "
                "a batch norm needs two: train on batches of 2 images or more a process, or leave "
                "1 out of head.pool_scales"
            )
        return super().forward(input)


class ChannelNorm(nn.LayerNorm):
    """Layer norm of the channels of every cell of a map."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def convolution(dim: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm and ReLU, which keep height and width; mmcv's ConvModule."""
    convolve = nn.Conv2d(dim, width, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolve.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolve, BatchNorm(width), nn.ReLU())


def resize(
    map: Float[Tensor, "b c _ _"], size: Sequence[int], *, corners: bool = False
) -> Float[Tensor, "b c {size[0]} {size[1]}"]:
    """The map at another height and width, bilinearly.

    `corners` lets the centers of the corner cells coincide rather than the edges of the maps.
    """
    if tuple(map.shape[2:]) == tuple(size):
        return map
    return F.interpolate(map, tuple(size), mode="bilinear", align_corners=corners)


def last_layer(width: int, channels: int, kernel: int = 1) -> nn.Conv2d:
    """A last layer, which starts near 0."""
    layer = nn.Conv2d(width, channels, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)  # as mmsegmentation's
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
