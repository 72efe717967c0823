"""How long it takes to compute the scores of one image, on one core.

    python benchmarks/evaluate.py [--quick] [--json FILE]

Depth: an image as large as KITTI's crop (352 x 1216) with the garg region, whose truth is known at
a fifth of the pixels, as KITTI's is, or at all. The peer is the usual script in plain numpy: mask
the maps, nine formulas on the pixels that count (the same formulas: the scores are equal, and that
is checked). Classes: 512 x 683 pixels, 150 classes, from logits to counts; the peer counts by a
two-dimensional histogram. All take turns in one process on one thread; time is the processor's, not
the clock's, which others may share.

A row's `value` is the median time, `ratio` the median over the rounds of the time over that of the
peer, and the middle 80 % of the rounds lie from `low` to `high`. The goal: under 10 ms.
"""

from collections.abc import Callable
from time import process_time

import numpy as np
import torch
from torch import Tensor

from sgmim.tasks.depth_metrics import DepthMeter
from sgmim.tasks.segmentation_metrics import SegmentationMeter
from timing import Row, command, in_turns, over, row, told, write

PEER = f"plain numpy {np.__version__}"
ROWS, COLUMNS = slice(143, 349), slice(43, 1172)  # garg, of 352 x 1216
CLASSES = 150


def main() -> None:
    options = command(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 10 if options.quick else 60
    rows = [row for known in (0.2, 1.0) for row in depth(known, rounds)] + classes(rounds)
    print(*map(told, rows), sep="\n")
    write(rows, options.json)


def depth(known: float, rounds: int) -> list[Row]:
    """Scores of one depth map, known at a share of its pixels."""
    truth, prediction = 78 * torch.rand(2, 1, 1, 352, 1216) + 1
    truth[torch.rand(truth.shape) > known] = torch.nan

    def ours() -> dict[str, float]:
        meter = DepthMeter(max_depth=80.0, region="garg")
        meter.update(prediction, {"depth": truth})
        return meter.results()

    stored = truth.nan_to_num(0)[0, 0].numpy()  # as they have it: 0 is unknown
    theirs = usual(prediction[0, 0].numpy(), stored)
    assert np.allclose(theirs, [ours()[name] for name in COMPARED], rtol=1e-5), "other scores"
    return compared(
        f"depth, {known:.0%} of 352 x 1216 known",
        ours,
        lambda: usual(prediction[0, 0].numpy(), stored),
        rounds,
    )


COMPARED = (
    "delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog_kitti",
)  # fmt: skip


def usual(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """The COMPARED scores of one image."""
    prediction = np.where(np.isinf(prediction), 80.0, prediction)
    prediction = np.clip(np.where(np.isnan(prediction), 1e-3, prediction), 1e-3, 80.0)
    inside = np.zeros(truth.shape)
    inside[ROWS, COLUMNS] = 1
    counts = np.logical_and(np.logical_and(truth > 1e-3, truth < 80.0), inside)
    p, y = prediction[counts], truth[counts]
    worst = np.maximum(y / p, p / y)
    shares = [(worst < 1.25**power).mean() for power in (1, 2, 3)]
    logs = np.log(p) - np.log(y)
    return [
        *shares,
        np.mean(np.abs(y - p) / y),
        np.mean((y - p) ** 2 / y),
        np.sqrt(((y - p) ** 2).mean()),
        np.sqrt((logs**2).mean()),
        np.abs(np.log10(p) - np.log10(y)).mean(),
        np.sqrt(np.mean(logs**2) - np.mean(logs) ** 2) * 100,
    ]


def classes(rounds: int) -> list[Row]:
    """Counts of one map of classes, whose logits are as large as the image."""
    logits = torch.randn(1, CLASSES, 512, 683)
    labels = torch.randint(CLASSES, (1, 1, 512, 683)).float()
    labels[torch.rand(labels.shape) < 0.1] = torch.nan
    stored = labels.nan_to_num(255).numpy().astype(np.uint8)[0, 0]

    def ours() -> Tensor:
        meter = SegmentationMeter(classes=CLASSES)
        meter.update(logits, {"classes": labels})
        return meter.confusion

    def theirs() -> np.ndarray:
        said, known = logits.numpy()[0].argmax(axis=0), stored != 255
        span = [[0, CLASSES], [0, CLASSES]]
        return np.histogram2d(stored[known], said[known], bins=CLASSES, range=span)[0]

    assert np.array_equal(ours().numpy(), theirs()), "other counts"
    return compared("classes, 150 of 512 x 683", ours, theirs, rounds // 6)


def compared(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> list[Row]:
    seconds = in_turns({"ours": ours, PEER: theirs}, rounds, clock=process_time)
    ms = {side: [1e3 * each for each in times] for side, times in seconds.items()}
    ratios = over(ms["ours"], ms[PEER])
    return [row(name, ms["ours"], "ms", PEER, ratios), row(f"{name}, {PEER}", ms[PEER], "ms")]


if __name__ == "__main__":
    main()
