"""OpenMMLab's SimMIM of Swin, trained anew: mmpretrain's names under "backbone."."""

from torch import Tensor

from sgmim.encoders.layouts.layout import INDICES, MERGING, Layout, State


def with_merging_by_place(state: State) -> State:
    """mmpretrain gathers four neighbors channel by channel, and timm patch by patch, left column
    first."""
    merging = {name for name in state if ".downsample." in name}
    return {name: by_place(t) if name in merging else t for name, t in state.items()}


def by_place(weight: Tensor) -> Tensor:
    """(..., 4 d) in mmpretrain's order of channels in timm's."""
    if not weight.ndim or weight.shape[-1] % 4:
        return weight
    four = weight.unflatten(-1, (-1, 4)).transpose(-1, -2)  # (..., 4, d), row by row
    return four[..., [0, 2, 1, 3], :].flatten(-2)


OPENMMLAB = Layout(
    "OpenMMLab's SimMIM",
    license="Apache-2.0",
    signs=(r"backbone\.patch_embed\.projection\.", r"backbone\.stages\.0\."),
    prefix=r"backbone\.",
    parts=INDICES
    | {
        r"backbone\.mask_token$": "mask token",
        r"(neck|decode_head)\.": "decoder",
        r"head\.": "classifier",
        r"data_preprocessor\.": "normalization of images",
    },
    names=(
        (r"^stages\.", "layers."),
        MERGING,
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"^norm3\.", "norm."),
    ),
    finish=with_merging_by_place,
)
