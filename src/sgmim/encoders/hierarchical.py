"""Swin: windows and merging need the whole grid, so hidden patches are replaced, never left out."""

from collections.abc import Iterable
from typing import Any

from timm.layers import PatchEmbed
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

from sgmim.encoders.base import QUARTERS, Encoder
from sgmim.errors import ConfigurationError


class HierarchicalEncoder(Encoder):
    """A timm Swin v1 or v2; its feature map is the last stage's, through the final norm."""

    backbones = (SwinTransformer, SwinTransformerV2)
    backbone: SwinTransformer | SwinTransformerV2

    def __init__(
        self, backbone: SwinTransformer | SwinTransformerV2, name: str, options: dict[str, Any]
    ):
        super().__init__()
        self.backbone, self.name, self.options = backbone, name, options
        stem = backbone.patch_embed
        assert isinstance(stem, PatchEmbed), "see encoders.wrap"
        self.image_size = tuple(stem.img_size)
        self.channels = stem.proj.in_channels
        self.dim = backbone.num_features
        self.patch = stem.patch_size[0]
        self.patch_dim = stem.proj.out_channels
        self.widths = tuple(stage["num_chs"] for stage in backbone.feature_info)
        self.strides = tuple(stage["reduction"] for stage in backbone.feature_info)
        self.stride = self.strides[-1]

    @property
    def blocks(self):
        stages: Iterable[Any] = self.backbone.layers
        return [block for stage in stages for block in stage.blocks]

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """The windows in use, patches down and across, one a stage: never larger than its grid."""
        stages: Iterable[Any] = self.backbone.layers
        return tuple(stage.blocks[0].window_size for stage in stages)

    @property
    def own_windows(self) -> tuple[int, ...]:
        """The windows its backbone asks for, patches a side, one a stage."""
        asked: Any = self.backbone._ref_window_sizes
        return tuple(max(pair) for pair in asked)

    def embed(self, image):
        return self.backbone.patch_embed(image)

    def trunk(self, patches):
        return self.backbone.norm(self.backbone.layers(patches)).permute(0, 3, 1, 2)

    def walk(self, image):
        stages: Iterable[Any] = self.backbone.layers
        patches = self.embed(image)
        for stage in stages:
            patches = stage.downsample(patches)
            for block in stage.blocks:
                patches = block(patches)
                yield patches

    def _parts(self):
        stages: Iterable[Any] = self.backbone.layers
        return list(stages)

    def levels(self, blocks=None, *, of_twelve=QUARTERS):
        if blocks is not None:
            raise ConfigurationError(
                f"{self.name} has stages, each of which gives a map: leave the option 'blocks' "
                "out; it is for plain encoders, such as a ViT"
            )
        return tuple(range(len(self.widths)))

    def outputs(self, image, levels=None):
        levels = self.levels() if levels is None else levels
        cells, outputs = self.embed(image), {}
        for number, stage in enumerate(self._parts()[: max(levels) + 1]):
            cells = stage(cells)
            if number in levels:
                outputs[number] = cells.flatten(1, 2)
        return [outputs[level] for level in levels]

    def pyramid(self, image, levels=None):
        """The outputs of the stages, the last through the final norm."""
        return self.backbone.forward_intermediates(
            image, indices=levels, norm=True, intermediates_only=True
        )
