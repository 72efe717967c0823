"""Recipes as tests read them: what they open with, and their options as the commands read them."""

import re
from functools import cache
from itertools import takewhile

import torch
import yaml

from sgmim.commands import finetune
from sgmim.encoders import make_encoder
from sgmim.options import build, recipes
from sgmim.request import read

IMAGENET = 1_281_167  # images to train on
ROOMS = {"pretrain": ("methods", "method"), "finetune": ("tasks", "task")}


def first_lines(name):
    """What a recipe opens with: its first line, then what the others say, by their first word."""
    lines = recipes()[name].read_text(encoding="utf-8").splitlines()
    lines = list(takewhile(lambda line: line.startswith("#"), lines))
    said = [re.match(r"# (\w+): (.+)", line) for line in lines[1:]]
    return lines[0], dict(match.groups() for match in said if match)


def command_of(name):
    (command,) = yaml.safe_load(recipes()[name].read_text(encoding="utf-8")).keys() & ROOMS.keys()
    return command


@cache
def loaded(name, *arguments):
    """What a recipe is for, and its options, as the command reads them."""
    command = command_of(name)
    defaults = finetune.DEFAULTS if command == "finetune" else {}
    return read(command, *ROOMS[command], [f"--recipe={name}", *arguments], **defaults)


def flat(name):
    options = vars(loaded(name)[1].as_flat())
    return {key: value for key, value in options.items() if key != "recipe"}


def built(config, command, what):
    """The objective of a recipe, without weights."""
    room, part = ROOMS[command]
    with torch.device("meta"):
        encoder = make_encoder(**config.encoder.as_dict() | {"pretrained": False})
        return build(room, what, encoder, config[part], config.get("head"))
