"""SimMIM and what descends from it: the encoder under "encoder.", of a ViT, a Swin or a Swin v2.

Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022, github.com/microsoft/
SimMIM; SG-MIM, github.com/Ho1guma/SG-MIM; github.com/SwinTransformer/MIM-Depth-Estimation.
"""

from sgmim.encoders.layouts.layout import INDICES, MERGING, Layout

TOKEN = {r"(encoder\.)?mask_token$": "mask token"}
HEAD = {r"head\.": "classifier"}

SGMIM = Layout(
    "SG-MIM",
    license="MIT",
    signs=(r"encoder\.patch_embed\.", r"depth_encoder", r"fusion_blk"),
    prefix=r"encoder\.",
    parts=INDICES
    | TOKEN
    | {
        # the first commit makes a second embedding of depth there, and never uses it
        r"encoder\.depth_patch_embed\.": "embedding of depth that is never used",
        r"depth_encoder": "encoder of depth",
        r"fusion_blk": "fusion",
        r"(img|dep)_decoder\.": "decoders",
    },
    names=(MERGING,),
    family="simmim_vit",
)

MIM_DEPTH = Layout(
    "MIM-Depth-Estimation",
    license="MIT",
    signs=(r"encoder\.", r"last_layer_depth\."),
    prefix=r"encoder\.",
    parts=INDICES | TOKEN | {r"decoder\.": "decoder", r"last_layer_depth\.": "depth head"},
    # its norms are named for their stages, of which the last is the final one
    names=(MERGING, (r"^norm3\.", "norm."), (r"\.rpe_mlp\.", ".cpb_mlp.")),
    normalization="none",
    family="mimdepth_swinv2",
)

SIMMIM = Layout(
    "SimMIM",
    license="MIT",
    signs=(r"encoder\.patch_embed\.", r"decoder\.0\."),
    prefix=r"encoder\.",
    parts=INDICES | TOKEN | {r"decoder\.0\.": "decoder"},
    names=(MERGING, (r"\.rpe_mlp\.", ".cpb_mlp.")),
    family="simmim_vit",
)

SWIN = Layout(
    "Swin's authors, or SimMIM's fine-tuning",
    license="MIT",
    signs=(r"patch_embed\.proj\.", r"layers\.0\.blocks\.0\.", r"layers\.0\.downsample\."),
    parts=INDICES | TOKEN | HEAD,
    names=(MERGING,),
)

# Fine-tuning pools before the norm, an encoder of this library does not: the norm moves.
BEIT = Layout(
    "BEiT's authors, or SimMIM's fine-tuning of a ViT",
    license="MIT",
    signs=(r"patch_embed\.proj\.", r"blocks\.0\.gamma_1", r".*relative_position_index"),
    not_signs=(r"encoder\.",),
    parts=INDICES | TOKEN | HEAD | {r"lm_head\.": "decoder"},
    names=((r"^fc_norm\.", "norm."),),
    family="simmim_vit",
)
