"""Functions of one's own as teachers: "module:function" or "path/to/file.py:function"."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.errors import ConfigurationError, FileError, unknown
from sgmim.knowledge.teachers.licenses import Origin
from sgmim.knowledge.teachers.pretrained import on, said


@dataclass(frozen=True)
class Function:
    """A function of one's own, called with colors in [0, 1], (b, 3, H, W)."""

    name: str
    function: Callable[[Tensor], Tensor]
    origin: Origin

    def __call__(self, image: Float[Tensor, "b 3 H W"], channels: int) -> Tensor:
        """Its maps, (b, channels, h, w). ConfigurationError where it fails or gives others."""
        if isinstance(self.function, nn.Module):
            on(self.function, image.device)
        try:
            made = self.function(image)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # it is somebody's code
            raise ConfigurationError(f"{self.name} failed: {said(error)}") from error
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        if (
            not isinstance(made, Tensor)
            or made.ndim != 4
            or made.shape[:2] != (len(image), channels)
        ):
            raise ConfigurationError(
                f"{self.name} gave {shape} for images {tuple(image.shape)}; it is to give a tensor "
                f"({len(image)}, {channels}, height, width)"
            )
        return made


def fingerprint(*files: Path) -> str:
    """What tells files from others of the same name."""
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256 {total.hexdigest()[:12]}"


def imported(where: str, name: str) -> tuple[Callable, str]:
    """A function from a module or a file, and the version of that."""
    version = ""
    try:
        if where.endswith(".py"):
            version = fingerprint(Path(where))
            spec = importlib.util.spec_from_file_location(
                f"sgmim_teacher_{Path(where).stem}", where
            )
            assert spec is not None and spec.loader is not None, "it is a .py"
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses look for their module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
            version = str(getattr(module, "__version__", ""))
    except OSError as error:
        raise FileError(f"the teacher {where} cannot be read: {said(error)}") from error
    except Exception as error:  # it is somebody's code
        told = f"{type(error).__name__}: {said(error)}"
        raise ConfigurationError(f"the teacher {where} cannot be imported: {told}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown("function", name, there)
    return function, version
