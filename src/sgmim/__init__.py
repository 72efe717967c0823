"""Structured-knowledge guided masked image modeling: pre-train backbones for dense prediction."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgmim.encoders.files import load_encoder
    from sgmim.prediction import load_task

__all__ = ["__version__", "load_encoder", "load_task"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: the command line answers without it."""
    if name == "load_encoder":
        from sgmim.encoders.files import load_encoder

        return load_encoder
    if name == "load_task":
        from sgmim.prediction import load_task

        return load_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
