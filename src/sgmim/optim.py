"""The optimizer of a run: which parameters decay, and which layers learn more slowly."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from math import inf
from typing import Any, Literal, get_args

from timm.optim import Lars
from torch.optim import AdamW, Optimizer

from sgmim.errors import ConfigurationError, unknown
from sgmim.objective import Objective, Task

Exclude = Literal["recommended", "official", "small", "none"]


def make_optimizer(
    objective: Objective,
    *,
    name: Literal["adamw", "lars"] = "adamw",
    lr: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum: float = 0.9,
    trust: float = 0.001,
    exclude: Exclude = "recommended",
    layer_decay: float = 1.0,
    merge_as_layer: bool = False,
    encoder_share: float = 1.0,
) -> Optimizer:
    """The optimizer of some name, over the parameters that require a gradient.

    Args:
        name: "adamw" in all these papers, but for linear probes as MAE's: "lars".
        lr: learning rate; a schedule replaces it.
        weight_decay: of the parameters that decay.
        betas: of adamw; (0.9, 0.95) in MAE, MultiMAE and CroCo.
        eps: of adamw: added to the root of the second moment.
        momentum: of lars.
        trust: of lars: the length of a step over that of the weights, at a rate of 1.
        exclude: what weight decay spares. "recommended": biases, what has one dimension, and what
            the objective names (tokens, position tables, attention scales). "official": as the
            code of SimMIM, SG-MIM and MIM-Depth-Estimation does. "small": biases and what has one
            dimension, as in MAE and DINO. "none": nothing, as in KAMIM and MoCo v3.
        layer_decay: the rate of a layer over that of the next; 1 is one rate for all.
        merge_as_layer: count Swin's patch mergings as layers, as MIM-Depth-Estimation does.
        encoder_share: of the rate, that the encoder gets; 0.1 in iDisc.

    Raises:
        ConfigurationError: a weight decay or a share below 0, or an exclusion that there is not.
    """
    sharing: dict[str, Any] = {
        "weight_decay": weight_decay,
        "exclude": exclude,
        "layer_decay": layer_decay,
        "merge_as_layer": merge_as_layer,
        "encoder_share": encoder_share,
    }
    if name == "lars":
        return lars(objective, lr=lr, momentum=momentum, trust=trust, **sharing)
    return adamw(objective, lr=lr, betas=betas, eps=eps, **sharing)


def lars(
    objective: Objective,
    *,
    lr: float,
    momentum: float = 0.9,
    trust: float = 0.001,
    **sharing: Any,
) -> Lars:
    """Layer-wise adaptive rates (You et al., 2017, arXiv:1708.03888), as MAE probes with them.

    The step of every weight matrix is `trust` times as long as the matrix at a rate of 1, whatever
    its gradient; biases and what has one dimension take plain steps. timm's optimizer adapts what
    does not decay only where it is told to, so matrices and the rest are groups of their own.

    Args:
        objective: before it is wrapped.
        lr: learning rate.
        momentum: of the steps.
        trust: see above.
        sharing: options of `groups`.
    """
    parameters = []
    for group in groups(objective, **sharing):
        for adapt in (True, False):
            some = [(name, p) for name, p in group["params"] if (p.ndim > 1) is adapt]
            if some:
                rate = {"lr": lr * group["lr_scale"], "always_adapt": adapt}
                parameters.append(group | rate | {"params": some})
    return Lars(parameters, lr=lr, momentum=momentum, trust_coeff=trust)


def adamw(
    objective: Objective,
    *,
    lr: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    exclude: Exclude = "recommended",
    layer_decay: float = 1.0,
    merge_as_layer: bool = False,
    encoder_share: float = 1.0,
) -> AdamW:
    """The optimizer of all these papers, over the parameters that require a gradient.

    It is fused where the device has such a kernel, which also lets the loop leave out a step whose
    gradient is not finite without waiting for the GPU. Give it the objective before it is wrapped
    for several processes and after it is on its device.

    For its options see `make_optimizer`.

    Raises:
        ConfigurationError: a weight decay or a share below 0, or an exclusion that there is not.
    """
    parameters = groups(
        objective,
        weight_decay=weight_decay,
        exclude=exclude,
        layer_decay=layer_decay,
        merge_as_layer=merge_as_layer,
        encoder_share=encoder_share,
    )
    for group in parameters:
        group["lr"] = lr * group["lr_scale"]
    devices = {parameter.device.type for parameter in objective.parameters()}
    fused = devices <= {"cuda", "cpu", "mps", "xpu"}
    return AdamW(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)


def groups(
    objective: Objective,
    *,
    weight_decay: float = 0.05,
    exclude: Exclude = "recommended",
    layer_decay: float = 1.0,
    merge_as_layer: bool = False,
    encoder_share: float = 1.0,
) -> list[dict[str, Any]]:
    """The parameters by weight decay and share of the rate ("lr_scale"), as (name, parameter).

    Raises:
        ConfigurationError: a weight decay or a share below 0, or an exclusion that there is not.
    """
    for what, value in (("weight_decay", weight_decay), ("encoder_share", encoder_share)):
        if not 0 <= value < inf:
            raise ConfigurationError(f"{what} is 0 (none) or more, not {value}")
    undecayed = spared(objective, exclude)
    names = (name for name, _ in objective.encoder.backbone.named_parameters())
    scales = layer_scales(names, layer_decay, merge_as_layer=merge_as_layer)
    found = defaultdict(list)
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            scale = scales.get(name.removeprefix("encoder.backbone."), 1.0)
            scale *= encoder_share if name.startswith("encoder.") else 1.0
            found[name in undecayed, scale].append((name, parameter))
    return [
        {
            "params": parameters,
            "weight_decay": 0.0 if is_spared else weight_decay,
            "lr_scale": scale,
        }
        for (is_spared, scale), parameters in found.items()
    ]


def spared(objective: Objective, exclude: Exclude = "recommended") -> set[str]:
    """The names of the parameters that weight decay leaves alone."""
    ranks = {name: parameter.ndim for name, parameter in objective.named_parameters()}
    match exclude:
        case "recommended":
            return objective.no_decay() | {name for name in ranks if _is_small(name, ranks[name])}
        case "official":
            plain = objective.encoder.stride == objective.encoder.patch
            tuning = isinstance(objective, Task)
            return {n for n in ranks if officially_spared(n, ranks[n], plain=plain, tuning=tuning)}
        case "small":
            return {name for name in ranks if _is_small(name, ranks[name])}
        case "none":
            return set()
    raise unknown("exclusion from weight decay", exclude, get_args(Exclude))


def officially_spared(name: str, ndim: int, *, plain: bool, tuning: bool) -> bool:
    """Whether the code of SimMIM, SG-MIM or MIM-Depth-Estimation keeps a parameter from decaying.

    Three oddities of it: a ViT's mask token decays and a Swin's does not; bias tables and attention
    scales of a Swin decay in pre-training, where the words meant to spare them match no name, but
    not in fine-tuning; those of a ViT always do.

    Args:
        name: of the parameter, ours or theirs.
        ndim: its number of dimensions.
        plain: of a ViT, not a Swin.
        tuning: in fine-tuning, not pre-training.
    """
    last = name.rpartition(".")[2]
    if last in ("token", "mask_token"):
        return not plain
    if _is_small(name, ndim) or last in ("cls_token", "pos_embed", "absolute_pos_embed"):
        return True
    tables = ("relative_position_bias_table", "cpb_mlp", "rpe_mlp", "logit_scale")
    return tuning and not plain and any(table in name for table in tables)


def layer_scales(
    names: Iterable[str], decay: float, *, merge_as_layer: bool = False
) -> dict[str, float]:
    """The share of the learning rate that each parameter of a timm backbone gets.

    Layer 0 is the stem with positions and tokens, then come the blocks one by one, and whatever
    follows (norms, heads, a bias table that all blocks share) is the last layer, whose share is 1.
    Each layer has `decay` times the share of the next. This is the count of BEiT, MAE, SimMIM and
    MultiMAE (decay^(13 - i) in a ViT-B), which give a Swin's patch merging the layer of the block
    before it; with `merge_as_layer` each merging is a layer of its own, as in MIM-Depth-Estimation.
    """
    names = list(names)
    blocks = {place for place in map(_block, names) if place}
    depths = Counter(stage for stage, _ in blocks)

    def first(stage: int) -> int:
        return sum(depths[before] + merge_as_layer for before in range(stage)) + 1

    last = first(len(depths)) - merge_as_layer  # no merging follows the last stage

    def layer(name: str) -> int:
        if name.startswith(("patch_embed", "pos_embed", "cls_token", "reg_token", "mask_token")):
            return 0
        if place := _block(name):
            stage, block = place
            return first(stage) + block
        merging = re.match(r"layers\.(\d+)\.downsample\.", name)  # timm has it before its stage
        return first(int(merging[1])) - 1 if merging else last

    return {name: decay ** (last - layer(name)) for name in names}


def _block(name: str) -> tuple[int, int] | None:
    """The stage and the place in it of the block that a parameter belongs to, if any."""
    found = re.match(r"(?:layers\.(\d+)\.)?blocks\.(\d+)\.", name)
    return (int(found[1] or 0), int(found[2])) if found else None


def _is_small(name: str, ndim: int) -> bool:
    return ndim <= 1 or name.endswith(".bias")
