"""How one source names its tensors: what is the encoder's, what is another part's, in which names.

A layout is data. Reading a checkpoint with it is a pure function: tensors in, tensors in timm's
names out, and an account of the rest.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

State = dict[str, Tensor]
# theirs as a pattern -> timm's, or what makes it of the match; one after the other
Names = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# What Swins keep beside their weights, and make anew for any size. No parameter is called so.
BUFFERS = r".*\b(relative_position_index|relative_coords_table|attn_mask)$"
INDICES = {BUFFERS: "indices of positions"}


@dataclass
class Converted:
    """The encoder of a checkpoint, and what became of every tensor of it."""

    layout: "Layout"
    state: State  # the encoder's, in timm's names
    kept: int  # tensors of the checkpoint that it is made of
    renamed: list[str] = field(default_factory=list)  # timm's names that are not the source's
    dropped: dict[str, str] = field(default_factory=dict)  # the source's name -> which part it is
    unexplained: list[str] = field(default_factory=list)  # of no part of the source that is known

    @property
    def source(self) -> str:
        return self.layout.source


@dataclass(frozen=True)
class Layout:
    """How one source names its tensors."""

    source: str  # whose files these are
    license: str  # of their weights
    signs: tuple[str, ...]  # patterns; every one of them begins a name in such a file, and none
    not_signs: tuple[str, ...] = ()  # of these does
    prefix: str = ""  # pattern: what the names of the encoder begin with
    parts: Mapping[str, str] = field(default_factory=dict)  # pattern of other names -> what it is
    names: Names = ()
    finish: Callable[[State], State] = lambda state: state  # what more than a name has to change
    is_it: Callable[[State], bool] = lambda state: True  # told by what the tensors hold
    normalization: str = "imagenet"  # of the images it was trained with; empty where not told
    family: str = ""  # the encoder it is of, where tensors do not tell (encoders/inference.py)

    def fits(self, state: State) -> bool:
        """Whether a file with these tensors is this source's."""
        names = "\n".join(state)
        found = all(_begins(sign, names) for sign in self.signs)
        return found and not any(_begins(s, names) for s in self.not_signs) and self.is_it(state)

    def convert(self, state: State) -> Converted:
        """The encoder of a file of this source in timm's names, and what was left of the file."""
        converted, taken = Converted(self, {}, 0), set()
        for theirs, tensor in state.items():
            name = self._ours(theirs)
            if part := self._part(theirs):
                converted.dropped[theirs] = part
            elif name is None or name in converted.state:
                converted.unexplained.append(theirs)
            else:
                converted.state[name] = tensor
                taken.add(theirs)
        converted.kept = len(taken)
        converted.state = self.finish(converted.state)
        converted.renamed = sorted(converted.state.keys() - taken)
        return converted

    def _part(self, name: str) -> str | None:
        return next((part for sign, part in self.parts.items() if re.match(sign, name)), None)

    def _ours(self, name: str) -> str | None:
        """timm's name; none of what is not the encoder's."""
        found = re.match(self.prefix, name)
        if not found:
            return None
        name = name[found.end() :]
        for theirs, ours in self.names:
            name = re.sub(theirs, ours, name)
        return name


def _begins(sign: str, names: str) -> bool:
    return re.search(f"^(?:{sign})", names, re.MULTILINE) is not None


def next_stage(found: re.Match[str]) -> str:
    """timm merges patches at the start of a stage, all others at the end of the one before."""
    return f"layers.{int(found[1]) + 1}.downsample"


MERGING = (r"^layers\.(\d+)\.downsample", next_stage)
