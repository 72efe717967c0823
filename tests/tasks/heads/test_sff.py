"""The selective fusion of GLPDepth against the authors'."""

import re

import torch
from torch import nn

from conftest import close, golden, official, tiny
from sgmim.tasks.heads.sff import SelectiveFusionHead

OURS = (  # what the authors call the parts of the head
    (r"^decoder\.bot_conv\.", "narrow.3."),
    (r"^decoder\.skip_conv1\.", "narrow.2."),
    (r"^decoder\.skip_conv2\.", "narrow.1."),
    (r"^decoder\.fusion(\d)\.", lambda m: f"fuse.{3 - int(m[1])}.weigh."),
    (r"\.conv1\.", "."),
    (r"\.conv2\.(\d)\.", lambda m: f".{3 + int(m[1])}."),
    (r"\.conv3\.", ".6."),
    (r"^last_layer_depth\.", "value."),
)


def renamed(name):
    for theirs, ours in OURS:
        name = re.sub(theirs, ours, name)
    return name


def test_it_decodes_the_authors_maps_as_they_do():
    meta, io = golden("glp_sff_decoder")
    maps = [io[f"features.{stage}"] for stage in (1, 2, 3, 4)]
    encoder = tiny("swin")
    encoder.widths = tuple(map.shape[1] for map in maps)
    head = SelectiveFusionHead(encoder, width=meta["config"]["out_channels"]).eval()
    head.neck = nn.Identity()  # theirs comes normed
    head.load_state_dict({renamed(n): t for n, t in official("glp_sff_decoder").items()})
    size = tuple(io["depth"].shape[2:])
    close(head.decode(maps, size), io["decoder_output"])
    close(meta["config"]["max_depth"] * head(maps, size).sigmoid(), io["depth"])


def test_each_cell_weighs_two_maps_from_none_to_all():
    head = SelectiveFusionHead(tiny("vit"), width=8).eval()
    near, far = torch.ones(1, 8, 4, 6), torch.zeros(1, 8, 4, 6)
    share = head.fuse[0](near, far)
    assert ((share > 0) & (share < 1)).all()
