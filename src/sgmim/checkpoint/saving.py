"""What a run saves while it goes on: the encoder, and a checkpoint to go on from.

Both are copied in the step and written beside the next ones; of a shared model, each process
writes its part.
"""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from sgmim import checkpoint, distributed
from sgmim.checkpoint import sharded
from sgmim.checkpoint.background import Background, Copier
from sgmim.distributed import parallel
from sgmim.ema import MovingAverage
from sgmim.encoders.files import save_encoder
from sgmim.objective import Objective


class Saving(Background):
    """Saves a run after some of its steps. Leaving the context waits for the last.

    Of a shared model every process must call the same; otherwise the main process alone does.

    Args:
        folder: of the run.
        objective: what is trained.
        optimizer: of its parameters.
        ema: its moving average, if there is one; then the encoder is that one's.
        configuration: what has to be the same for the run to go on.
        keep: how many checkpoints to keep.
        metadata: to be kept in the header of the encoder's file.

    Raises:
        FileError: from any method; what was begun could not be written.
    """

    def __init__(
        self,
        folder: Path,
        objective: Objective,
        optimizer: Optimizer,
        ema: MovingAverage | None,
        *,
        configuration: dict[str, Any],
        keep: int,
        metadata: dict[str, Any],
    ):
        super().__init__()
        self.folder, self.keep, self.metadata = folder, keep, metadata
        self.objective, self.optimizer, self.ema = objective, optimizer, ema
        self.encoder = (ema.objective if ema else objective).encoder
        self.configuration, self._copy = configuration, Copier()
        shared = parallel.is_shared(objective)
        self._writer = sharded.Writer(folder, configuration, keep) if shared else None

    @property
    def takes_part(self) -> bool:
        """Whether this process has anything to save."""
        return self._writer is not None or distributed.is_main()

    def save(self, done: int) -> None:
        """Begin to save the run as it is after `done` steps."""
        if self._writer:
            self._save_part(self._writer, done)
        else:
            self._save_whole(done)

    def _save_part(self, writer: sharded.Writer, done: int) -> None:
        weights = parallel.weights_of(self.encoder.backbone)
        self.finish()
        write = writer.copy(done, self.objective, self.optimizer, self.ema)
        self.start(partial(write, partial(self._save_encoder, weights, done)))

    def _save_whole(self, done: int) -> None:
        self.finish()  # the copy goes where the one before it is
        content = checkpoint.content(
            done, self.objective, self.optimizer, ema=self.ema, configuration=self.configuration
        )
        copied = self._copy(content)
        self.start(lambda: self._write(copied()))

    def _write(self, content: checkpoint.Content) -> None:
        """The encoder first: a run that is stopped in between comes by here again."""
        state, prefix = content["ema"] or content["objective"], "encoder.backbone."
        weights = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        self._save_encoder(weights, content["step"])
        checkpoint.write(self.folder, content, keep=self.keep)

    def _save_encoder(self, weights: dict[str, Tensor], done: int) -> None:
        save_encoder(self.encoder, self.folder, weights=weights, step=done, **self.metadata)
