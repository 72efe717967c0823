"""Which numbers a device is fast with, and where the fast ones will not do."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def faster_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices faster in bf16 than in fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # measured: 2 to 3 times as fast on both; elsewhere emulated
        can = torch.cpu.get_capabilities()
        return can.get("amx_bf16", False) or can.get("avx512_bf16", False)
    return False


def uncast(tensor: Tensor) -> AbstractContextManager:
    """In here what is computed of a tensor has its own precision, also where autocast is on; a
    tensor without content (memory.py), which autocast does not know, is left alone."""
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)
