"""Images a second of feature extraction, beside timm's own forward pass of the same model.

    python benchmarks/features.py [--quick] [--json FILE] [--device cuda]

Both sides hold one backbone, with the same weights, and see the same batch: timm's model as it is
called to classify without a classifier (its blocks, final norm and pooling), ours as
'sgmim probe' extracts features, read in the same place: after the final norm, the class token or
the mean. The vectors are equal, and that is checked. What the preset "kamim" reads, block 8 of 12,
is timed too. Sides take turns in one process; a CPU is measured on one thread, in the processor's
time and not the clock's, which others may share.

A row's `value` is the median of images a second, `ratio` the median over the rounds of ours over
timm's, and the middle 80 % of the rounds lie from `low` to `high`. The goal: 0.97 or more.
"""

from functools import partial
from itertools import repeat
from time import perf_counter, process_time
from typing import Any

import timm
import torch
from torch import Tensor

from sgmim import features
from sgmim.encoders import make_encoder
from timing import Row, command, in_turns, over, row, told, write

PEER = f"timm {timm.__version__}"
BASE = ("vit_base_patch16_224", "beit_base_patch16_224", "swin_base_patch4_window7_224")
TINY = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")


def main() -> None:
    parser = command(__doc__, quick="two small models, a few rounds")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    on_gpu = torch.device(options.device).type == "cuda"
    rounds = 5 if options.quick else 12
    rows: list[Row] = []
    for name in TINY if options.quick else BASE:
        rows += (new := compared(name, 256 if on_gpu else 4, options.device, rounds))
        print(*map(told, new), sep="\n", flush=True)
    write(rows, options.json)


def compared(name: str, batch: int, device: str, rounds: int) -> list[Row]:
    """The rows of one model."""
    torch.manual_seed(0)
    encoder = make_encoder(name, image_size=224).to(device).eval()
    theirs = timm.create_model(name, num_classes=0, **pooled(encoder)).to(device).eval()
    theirs.load_state_dict(encoder.backbone.state_dict())
    image = torch.randn(batch, 3, 224, 224, device=device)
    last, eighth = features.reading(encoder, "mae"), features.reading(encoder, "kamim")
    sides = {
        "ours": stream(encoder, image, last),
        "kamim": stream(encoder, image, eighth),
        PEER: partial(forward, theirs, image),
    }
    torch.testing.assert_close(sides["ours"](), sides[PEER](), rtol=1e-4, atol=1e-4)
    on_gpu = torch.device(device).type == "cuda"
    timed = {side: partial(finished, work, on_gpu) for side, work in sides.items()}
    seconds = in_turns(timed, rounds, clock=perf_counter if on_gpu else process_time)
    paces = {side: [batch / each for each in took] for side, took in seconds.items()}
    unit, where = "images/s", f"{name}, {batch} x 224"
    return [
        row(f"{where}, last layer", paces["ours"], unit, PEER, over(paces["ours"], paces[PEER])),
        row(f"{where}, {PEER}", paces[PEER], unit),
        row(
            f"{where}, preset kamim (layer {eighth.layer} of {eighth.of})",
            paces["kamim"], unit, f"{PEER}, whole", over(paces["kamim"], paces[PEER]),
        ),
    ]  # fmt: skip


def pooled(encoder: Any) -> dict[str, Any]:
    """The options that have timm pool as the preset "mae" does."""
    if not encoder.is_plain:
        return {"img_size": 224}  # the mean after the final norm is a Swin's own
    return {"global_pool": "token" if encoder.has_class_token else "avg"}


def stream(encoder: Any, image: Tensor, where: features.Reading) -> Any:
    """Vectors of one batch after the other, as a probe asks for them."""
    batches = features.extracted(encoder, repeat({"image": image}), [where], precision="fp32")
    return lambda: next(batches)[0][0]


@torch.inference_mode()
def forward(model: Any, image: Tensor) -> Tensor:
    return model(image)


def finished(work: Any, on_gpu: bool) -> None:
    work()
    if on_gpu:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
