"""Structured-knowledge guided masked image modeling: pre-train backbones for dense prediction."""

__version__ = "0.1.0"
