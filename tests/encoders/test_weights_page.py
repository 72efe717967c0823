"""docs/weights.md says of every source what the code does: its tables are made from the layouts.

python tests/encoders/test_weights_page.py    prints them, to be pasted
"""

import json
from collections import Counter
from pathlib import Path

import torch

from conftest import case
from sgmim.encoders.importing import UNKNOWN
from sgmim.encoders.layouts import LAYOUTS
from sgmim.encoders.shapes import described
from sgmim.encoders.weights import convert

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


def row(*cells):
    return f"| {' | '.join(cells)} |"


def of_sources():
    """One row a layout: what stays behind, license, normalization."""
    for layout in LAYOUTS:
        behind = ", ".join(dict.fromkeys(layout.parts.values()))
        yield row(
            layout.source, behind, layout.license or UNKNOWN, layout.normalization or "unknown"
        )


def of_full_size_models():
    """One row an official model: what of its file is loaded, and into what."""
    models = json.loads((case("state_dict_keys") / "keys.json").read_text())
    for model, listed in models.items():
        shapes = {name: shape for name, (shape, _) in listed["state_dict"].items()}
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        converted = convert(state)
        told = described(converted, state, {})
        count = sum(tensor.numel() for tensor in converted.state.values()) / 1e6
        dropped = Counter(converted.dropped.values())
        yield row(
            f"`{model}`",
            f"`{told['name']}` at {told['image_size']}",
            f"{converted.kept} / {len(state)}",
            f"{count:.2f} M of {listed['parameters'] / 1e6:.2f} M",
            ", ".join(f"{number} {part}" for part, number in dropped.items()) or "nothing",
        )


def test_every_source_is_on_the_page_as_it_is_read():
    page = PAGE.read_text(encoding="utf-8")
    assert [line for line in of_sources() if line not in page] == []


def test_every_official_model_is_on_the_page_with_what_is_loaded_of_it():
    page = PAGE.read_text(encoding="utf-8")
    assert [line for line in of_full_size_models() if line not in page] == []


if __name__ == "__main__":
    print("\n".join([*of_sources(), "", *of_full_size_models()]))
