"""Saving while the training goes on: a copy is made at once, and written by one other thread."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Background:
    """One job at a time, done beside what else happens. Leaving the context waits for the last.

    What a job raises is raised here, by whatever is called next.
    """

    def __init__(self):
        self.pool, self.job = ThreadPoolExecutor(1, "saving"), Future[object]()
        self.job.set_result(None)

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown()
        if kind is None:  # else there is something else to tell
            self.finish()

    def start(self, job: Callable[[], object]) -> None:
        """Begin a job once the one before it is done."""
        self.finish()
        self.job = self.pool.submit(job)

    def look(self) -> None:
        """Raise what a job has raised, if it is done."""
        if self.job.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the job is done."""
        self.job.result()


class Copier:
    """Copies tensors to the memory of the host, always the same memory.

    A copy is used up before the next is taken. From a GPU it is made in the GPU's own time, after
    what that was given before and before what comes next: nobody waits but the reader.
    """

    def __init__(self):
        self.memory: dict[tuple[Hashable, ...], Tensor] = {}

    def __call__(self, state: Any) -> Callable[[], Any]:
        """Copy a tree of dictionaries and lists; what is returned waits for it and hands it over"""
        copy = self._copied(state, ())
        if not torch.cuda.is_initialized():
            return lambda: copy
        made = torch.cuda.Event()
        made.record()

        def wait() -> Any:
            made.synchronize()
            return copy

        return wait

    def _copied(self, part: Any, name: tuple[Hashable, ...]) -> Any:
        if isinstance(part, Tensor):
            return self._copy(part.detach(), name)
        if isinstance(part, dict):
            return {key: self._copied(value, (*name, key)) for key, value in part.items()}
        if isinstance(part, list):
            return [self._copied(value, (*name, place)) for place, value in enumerate(part)]
        return part

    def _copy(self, tensor: Tensor, name: tuple[Hashable, ...]) -> Tensor:
        memory = self.memory.get(name)
        if memory is None or (memory.shape, memory.dtype) != (tensor.shape, tensor.dtype):
            memory = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            self.memory[name] = memory
        return memory.copy_(tensor, non_blocking=True)
