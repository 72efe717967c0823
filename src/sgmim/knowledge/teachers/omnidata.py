"""Omnidata's DPT-Hybrid, the teacher of SG-MIM and MultiMAE: a checkpoint file of one's own.

"Omnidata: A Scalable Pipeline for Making Multi-Task Mid-Level Vision Datasets from 3D Scans",
Eftekhar et al. 2021, https://omnidata.vision. Its license ends with research: non-commercial.
The file, omnidata_dpt_depth_v2.ckpt or omnidata_dpt_normal_v2.ckpt, names its weights as the
authors of DPT do; they are put into transformers' DPT.
"""

import re
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.knowledge.teachers.functions import Function, fingerprint
from sgmim.knowledge.teachers.licenses import Origin, agreed
from sgmim.knowledge.teachers.pretrained import said, transformers

LICENSE = "omnidata-eula"  # its clause 9: the weights are for non-commercial research alone
TRAINED_ON = ("hypersim",)
HEAD_WIDTH = 64  # channels of one head of attention, as in every ViT of this family

NAMES = [  # of the authors of DPT, and of transformers
    (r"pretrained\.model\.cls_token", "dpt.embeddings.cls_token"),
    (r"pretrained\.model\.pos_embed", "dpt.embeddings.position_embeddings"),
    (r"pretrained\.model\.patch_embed\.proj\.", "dpt.embeddings.projection."),
    (
        r"pretrained\.model\.patch_embed\.backbone\.stem\.conv\.",
        "dpt.embeddings.backbone.bit.embedder.convolution.",
    ),
    (
        r"pretrained\.model\.patch_embed\.backbone\.stem\.norm\.",
        "dpt.embeddings.backbone.bit.embedder.norm.",
    ),
    (
        r"pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.",
        r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.\2.",
    ),
    (r"pretrained\.model\.norm\.", "dpt.layernorm."),
    (r"pretrained\.model\.blocks\.(\d+)\.norm1\.", r"dpt.encoder.layer.\1.layernorm_before."),
    (r"pretrained\.model\.blocks\.(\d+)\.norm2\.", r"dpt.encoder.layer.\1.layernorm_after."),
    (r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv\.", r"dpt.encoder.layer.\1.attention.qkv."),
    (
        r"pretrained\.model\.blocks\.(\d+)\.attn\.proj\.",
        r"dpt.encoder.layer.\1.attention.output.dense.",
    ),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc1\.", r"dpt.encoder.layer.\1.intermediate.dense."),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc2\.", r"dpt.encoder.layer.\1.output.dense."),
    (r"pretrained\.act_postprocess3\.0\.project\.", "neck.reassemble_stage.readout_projects.2."),
    (r"pretrained\.act_postprocess4\.0\.project\.", "neck.reassemble_stage.readout_projects.3."),
    (r"pretrained\.act_postprocess3\.3\.", "neck.reassemble_stage.layers.2.projection."),
    (r"pretrained\.act_postprocess4\.3\.", "neck.reassemble_stage.layers.3.projection."),
    (r"pretrained\.act_postprocess4\.4\.", "neck.reassemble_stage.layers.3.resize."),
    *((rf"scratch\.layer{n}_rn\.", f"neck.convs.{n - 1}.") for n in (1, 2, 3, 4)),
    *((rf"scratch\.refinenet{n}\.", f"neck.fusion_stage.layers.{4 - n}.") for n in (1, 2, 3, 4)),
    (r"(layers\.\d\.)out_conv\.", r"\1projection."),
    (r"resConfUnit([12])\.conv([12])\.", r"residual_layer\1.convolution\2."),
    (r"scratch\.output_conv\.", "head.head."),
]
CLASSIFIER = "pretrained.model.head."  # of ImageNet: DPT has it and never uses it


class Omnidata(nn.Module):
    """A DPT that is shown squares of its own size, and says values in [0, 1]."""

    def __init__(self, model: nn.Module, side: int, centered: bool):
        super().__init__()
        self.model, self.side, self.centered = model, side, centered

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        size = (self.side, self.side)
        shown = F.interpolate(image, size, mode="bilinear", antialias=True)
        depth = self.model((shown - 0.5) / 0.5 if self.centered else shown).predicted_depth
        return (depth if depth.ndim == 4 else depth[:, None]).clamp(0, 1)


def teacher(
    checkpoint: Path | None,
    *,
    channels: int,
    accept_license: bool = False,
    trained_on: tuple[str, ...] = (),
) -> Function:
    """The model of a checkpoint, as a function from colors in [0, 1] to (b, channels, h, w).

    Args:
        checkpoint: the file.
        channels: 1 for depth, 3 for normals.
        accept_license: its license is non-commercial.
        trained_on: benchmarks that it has seen, beside those that are known anyway.

    Raises:
        ConfigurationError: the license was not accepted, or no file was given.
        DataError: the file is no such checkpoint.
        FileError: there is no such file.
    """
    agreed("dpt-omnidata", LICENSE, accept_license)
    if checkpoint is None:
        raise ConfigurationError(
            "dpt-omnidata is a file of one's own: give --checkpoint omnidata_dpt_depth_v2.ckpt, "
            "which its authors publish"
        )
    state = _state(checkpoint)
    model = convert(state)
    found = model.get_parameter("head.head.4.weight").shape[0]
    if found != channels:
        raise DataError(f"{checkpoint} gives {found} channels, and {channels} are asked for")
    square = Omnidata(model, model.config.image_size, centered=channels == 1)  # type: ignore[union-attr,arg-type]
    known = tuple(sorted({*TRAINED_ON, *trained_on}))
    origin = Origin("dpt-omnidata", fingerprint(checkpoint), LICENSE, True, known)
    return Function("dpt-omnidata", square, origin)


def convert(state: dict[str, Tensor]) -> nn.Module:
    """Transformers' DPT with the weights of a checkpoint in the layout of DPT's authors.

    Raises DataError where a weight is missing, too many, or of another shape.
    """
    model = transformers().DPTForDepthEstimation(_config(state))
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith(CLASSIFIER):
            renamed |= _split(_renamed(name), value)
    head = renamed["head.head.4.weight"]
    if len(head) != 1:  # normals: transformers' own head has one channel
        model.head.head[4] = nn.Conv2d(head.shape[1], len(head), kernel_size=1)
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise DataError(f"the weights do not fit a DPT-Hybrid: {' '.join(lines[1:3])}") from error
    return model.eval().requires_grad_(False)


def _state(checkpoint: Path) -> dict[str, Tensor]:
    """The weights in a file, read without running anything that it may contain."""
    if not checkpoint.is_file():
        raise FileError(f"there is no checkpoint {checkpoint}")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        return {name.removeprefix("model."): value for name, value in state.items()}
    except Exception as error:  # what is torn or meant to harm fails in any way
        raise DataError(f"{checkpoint} is no checkpoint of tensors alone: {said(error)}") from error


def _renamed(name: str) -> str:
    for theirs, ours in NAMES:
        name = re.sub(theirs, ours, name)
    return name


def _split(name: str, value: Tensor) -> dict[str, Tensor]:
    """Queries, keys and values, which are one tensor there and three here."""
    if ".attention.qkv." not in name:
        return {name: value}
    parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
    return {name.replace("qkv", f"attention.{part}"): each for part, each in parts}


def _config(state: dict[str, Tensor]) -> Any:
    """The configuration that the shapes of a checkpoint speak of."""
    backbone, blocks = "pretrained.model.patch_embed.backbone.", "pretrained.model.blocks."
    try:
        positions, hidden = state["pretrained.model.pos_embed"].shape[1:]
        grid = round((positions - 1) ** 0.5)
        stages = [_count(state, f"{backbone}stages.{n}.blocks.") for n in range(3)]
        widths = [len(state[f"{backbone}stages.{n}.blocks.0.norm3.weight"]) for n in range(3)]
        fused = len(state["scratch.layer1_rn.weight"])
        return transformers().DPTConfig(
            is_hybrid=True,
            image_size=16 * grid,
            patch_size=16,
            hidden_size=hidden,
            num_hidden_layers=_count(state, blocks),
            num_attention_heads=hidden // HEAD_WIDTH,
            intermediate_size=len(state[f"{blocks}0.mlp.fc1.weight"]),
            layer_norm_eps=1e-6,
            reassemble_factors=[1, 1, 1, 0.5],
            neck_hidden_sizes=[*widths[:2], hidden, hidden],
            fusion_hidden_size=fused,
            backbone_featmap_shape=[1, widths[2], grid, grid],
            backbone_config={
                "model_type": "bit",
                "global_padding": "same",
                "layer_type": "bottleneck",
                "embedding_dynamic_padding": True,
                "embedding_size": len(state[f"{backbone}stem.conv.weight"]),
                "depths": stages,
                "hidden_sizes": widths,
                "out_features": ["stage1", "stage2", "stage3"],
            },
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"this is no checkpoint of a DPT-Hybrid: {said(error)} is missing"
        ) from error


def _count(state: dict[str, Tensor], above: str) -> int:
    """How many numbered parts there are under a name."""
    return len({n.removeprefix(above).split(".")[0] for n in state if n.startswith(above)})
