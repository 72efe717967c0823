"""Read what torch.distributed.checkpoint wrote without running anything that may be in it.

Its .metadata is a pickle, and torch loads it, and what is no tensor, with all that a pickle can do.
Here only names on a list are known, no file outside the checkpoint is opened, and what is not a
tensor is refused.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata

KNOWN = {
    (metadata.__name__, name)
    for name in (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    )
}
KNOWN |= {(filesystem.__name__, "_StorageInfo"), ("torch", "Size")}
KNOWN |= {("torch.serialization", "_get_layout"), ("pathlib", "PosixPath")}  # of names


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        if (module, name) in KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")


class Reader(dcp.FileSystemReader):
    """Reads a checkpoint that may have been tampered with.

    Raises UnpicklingError or ValueError where it would do more than that.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        with open(path / ".metadata", "rb") as file:
            found = Unpickler(file).load()
        if not isinstance(found, metadata.Metadata) or not isinstance(found.storage_data, dict):
            raise ValueError("it has no metadata of a checkpoint")
        for place in found.storage_data.values():
            if Path(place.relative_path).name != place.relative_path:
                raise ValueError(f"a part of it lies outside: {place.relative_path}")
        found.storage_meta = found.storage_meta or metadata.StorageMeta()
        found.storage_meta.load_id = self.load_id
        self.metadata = found

    def read_metadata(self, *args: Any, **options: Any) -> metadata.Metadata:
        return self.metadata


class Tensors(dcp.DefaultLoadPlanner):
    """Loads tensors alone, which torch reads with weights_only."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        raise ValueError(f"{read_item.dest_index.fqn} is no tensor")
