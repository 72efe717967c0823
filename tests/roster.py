"""Every method there is, in every form that computes something else."""

import pytest

from conftest import TINY, tiny
from sgmim.guidance.asked import Ask
from sgmim.methods.croco import CroCo
from sgmim.methods.dino import DINO
from sgmim.methods.kamim import KAMIM
from sgmim.methods.mae import MAE
from sgmim.methods.mocov3 import MoCoV3
from sgmim.methods.multimae import MultiMAE
from sgmim.methods.multitask import MultiTask
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.sgmim_visible import VisibleSGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.modalities import MapOptions
from sgmim.weighting import Weights

LIGHT = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 4}
HEAD = {"prototypes": 40, "hidden": 32, "bottleneck": 16, "freeze_last": 0.0}
MANY = {"depth": MapOptions(), "edges": MapOptions(weight=0.0), "normals": MapOptions()}
MANY |= {"classes": MapOptions(classes=5, alpha=2.0), "fast": MapOptions()}
ASKED = {"depth": Ask(loss="ssi"), "normals": Ask(), "classes": Ask(classes=5)}

ANYWHERE = {  # on every encoder
    "simmim": (SimMIM, {}),
    "simmim, weighted": (SimMIM, {"weights": Weights(of="depth", normalize="mean")}),
    "kamim": (KAMIM, {}),
    "sgmim": (SGMIM, {}),
    "sgmim, as in the authors' code": (SGMIM.paper_code, {}),
    "sgmim, random": (SGMIM, {"guidance_mask": "random"}),
    "sgmim, same": (SGMIM, {"guidance_mask": "same"}),
    "sgmim, none": (SGMIM, {"guidance_mask": "none"}),
    "sgmim, transformer": (SGMIM, {"extractor": "transformer"}),
    "sgmim, siamese": (SGMIM, {"extractor": "siamese"}),
    "sgmim, conv": (SGMIM, {"extractor": "conv"}),
    "sgmim, conv, kept": (SGMIM, {"extractor": "conv", "hidden_context": "keep"}),
    "sgmim, transformer, kept": (SGMIM, {"extractor": "transformer", "hidden_context": "keep"}),
    "sgmim, siamese, kept": (SGMIM, {"extractor": "siamese", "hidden_context": "keep"}),
    "sgmim, learned": (SGMIM, {"positions": "learned", "fusion_blocks": 2}),
    "sgmim, normals": (SGMIM, {"knowledge": "normals", "channels": 3}),
    "multitask": (MultiTask, {}),
    "multitask, many": (MultiTask, {"maps": ASKED, "where": "hidden"}),
    "multitask, all": (MultiTask, {"where": "all"}),
    "mocov3": (MoCoV3, {"hidden": 32, "dim": 16}),
    "mocov3, thawed": (MoCoV3, {"hidden": 32, "dim": 16, "freeze_patches": False}),
    "dino, whole": (DINO, HEAD | {"parts": False}),
}
LEAVING_OUT = {  # where patches can be left out
    "mae": (MAE, LIGHT),
    "mae, learned positions": (MAE, LIGHT | {"positions": "learned", "normalize": False}),
    "sgmim_visible": (VisibleSGMIM, LIGHT),
    "sgmim_visible, siamese": (
        VisibleSGMIM,
        LIGHT | {"extractor": "siamese", "encoder_positions": "learned"},
    ),
    "sgmim_visible, weighted": (VisibleSGMIM, LIGHT | {"weights": Weights(of="depth")}),
    "multimae": (MultiMAE, LIGHT),
    "multimae, many": (
        MultiMAE,
        LIGHT | {"maps": MANY, "normalized_weight": 0.0, "positions": "learned"},
    ),
    "multimae, all patches": (MultiMAE, LIGHT | {"loss_on": "all", "alpha": 0.5}),
    "croco": (CroCo, LIGHT),
    "croco, rotary": (CroCo, LIGHT | {"positions": "rotary", "normalize": False}),
}
ANY_SIZE = {"dino": (DINO, HEAD)}  # where images may be of another size
FORMS = ANYWHERE | LEAVING_OUT | ANY_SIZE
METHODS = [form for form in FORMS if ", " not in form]  # one form of each
JOINT = (MoCoV3, DINO)  # which compare crops, and paint none


def made(form, encoder, **options):
    """A method in some form around a tiny encoder."""
    make, own = FORMS[form]
    return make(tiny(encoder, **options), **own)


def pairs(encoders=tuple(TINY), forms=tuple(FORMS)):
    """The forms with every encoder that they take."""
    return [(form, one) for form in forms for one in encoders if one in _taken_by(form)]


def params(pairs):
    """Pairs as pytest wants them: of a method's further forms, some encoders only by name."""
    return [
        pytest.param(pair, id=", ".join(pair), marks=[pytest.mark.slow] * _is_further(*pair))
        for pair in pairs
    ]


def _is_further(form, encoder):
    return form not in METHODS and encoder not in ("vit", "swin")


def _taken_by(form):
    if form in ANY_SIZE:
        return ["vit"]
    if form in LEAVING_OUT:
        return ["vit", "simmim_vit", "rotary_vit"]
    return [name for name in TINY if name != "rotary_vit"]  # as any ViT, and it takes time
