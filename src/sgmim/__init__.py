"""Structured-knowledge guided masked image modeling: pre-train backbones for dense prediction."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgmim.encoders.files import load_encoder
    from sgmim.hub import from_pretrained, push_to_hub, save_pretrained
    from sgmim.prediction import load_task

__all__ = [
    "__version__",
    "from_pretrained",
    "load_encoder",
    "load_task",
    "push_to_hub",
    "save_pretrained",
]
__version__ = "0.1.0"

HOMES = {
    "load_encoder": "encoders.files",
    "load_task": "prediction",
    "from_pretrained": "hub",
    "push_to_hub": "hub",
    "save_pretrained": "hub",
}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: the command line answers without it."""
    if name in HOMES:
        return getattr(import_module(f"sgmim.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
