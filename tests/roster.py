"""Every method there is, in every form that computes something else."""

from conftest import tiny
from sgmim.methods.kamim import KAMIM
from sgmim.methods.sgmim import SGMIM
from sgmim.methods.simmim import SimMIM
from sgmim.weighting import Weights

FORMS = {
    "simmim": (SimMIM, {}),
    "simmim, weighted": (SimMIM, {"weights": Weights(of="depth", normalize="mean")}),
    "kamim": (KAMIM, {}),
    "sgmim": (SGMIM, {}),
    "sgmim as in the authors' code": (SGMIM.paper_code, {}),
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
}


def made(form, encoder, **options):
    """A method in some form around a tiny encoder."""
    make, own = FORMS[form]
    return make(tiny(encoder, **options), **own)
