"""Pre-train an encoder on images, and maps that lie on them.

    sgmim pretrain METHOD [--recipe NAME] [--data.images FOLDER] [--data.maps.depth FOLDER] ...

Without images it trains on scenes. A run goes on where it stopped: give the same command again.
On several GPUs: torchrun --nproc_per_node 8 -m -- sgmim pretrain ...
"""

from collections.abc import Sequence

from sgmim import distributed
from sgmim.assembly import prepare


def main(arguments: Sequence[str]) -> None:
    with distributed.together():
        run = prepare("pretrain", "methods", "method", arguments)
        if distributed.is_main():
            print(run.told())
        if run.config.dry_run:
            return
        run.train()
        if distributed.is_main():
            print(f"the encoder is {run.folder / 'encoder.safetensors'}")
