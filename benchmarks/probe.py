"""How long nearest neighbors and linear probes take on cached features, beside scikit-learn's.

    python benchmarks/probe.py [--quick] [--json FILE] [--device cuda] [--threads 2]

Neighbors: 10,000 queries of a bank of 50,000 features of 768 numbers (as CIFAR's images and a
ViT-B), 20 neighbors, cosine. The peers are scikit-learn's KNeighborsClassifier, by brute force with
the same weights, and lightly's knn_predict; all three find the same classes, which is checked.
Linear: 10,000 features of 768 numbers in 10 and in 100 classes, the preset "mae" (8 rates of LARS,
90 epochs, then once more at the best rate). The peer is LogisticRegression, at as many strengths of
its regularization. All take turns in one process on as many threads; time is the clock's, but of
one thread on a CPU the processor's, which others on the machine share no part of.

A row's `value` is the median in seconds, `ratio` the median over the rounds of ours / the peer's,
and the middle 80 % of the rounds lie from `low` to `high`. The goals: 10 s for the neighbors and
20 s for the probe on two cores.
"""

import warnings
from time import perf_counter, process_time
from typing import Any

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from sgmim.probing.labeled import Labeled
from sgmim.probing.linear import LinearProbe, probe
from sgmim.probing.neighbors import Neighbors, vote
from timing import Row, command, in_turns, over, row, told, write

SKLEARN = f"scikit-learn {sklearn.__version__}"
DIM = 768
HOW = Neighbors(k=(20,))


def main() -> None:
    parser = command(__doc__, quick="a tenth of the features")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)  # the peers' libraries have threads of their own
    size = 10 if options.quick else 1
    rounds = 1 if options.quick else 3
    rows: list[Row] = []
    for new in (
        neighbors(50_000 // size, 10_000 // size, options.device, rounds),
        linear(10_000 // size, 10, options.device, rounds),
        linear(10_000 // size, 100, options.device, rounds),
    ):
        print(*map(told, new), sep="\n", flush=True)
        rows += new
    write(rows, options.json)


def neighbors(bank: int, queries: int, device: str, rounds: int) -> list[Row]:
    from lightly.utils.benchmarking import knn_predict
    from sklearn.neighbors import KNeighborsClassifier

    known, asked = blobs(bank, 10, device), blobs(queries, 10, device, seed=1)
    one, other = (F.normalize(each.features) for each in (known, asked))

    def ours() -> Any:
        found = [votes[20].argmax(dim=1) for _, votes in vote(known, asked.features, 10, HOW)]
        return torch.cat(found).cpu()

    def scikit() -> Any:
        model = KNeighborsClassifier(20, weights=votes, algorithm="brute")
        model.fit(one.cpu().numpy(), known.labels.cpu().numpy())
        return torch.from_numpy(model.predict(other.cpu().numpy()))

    def lightly() -> Any:
        found = [
            knn_predict(part, one.T, known.labels, 10, knn_k=20, knn_t=HOW.temperature)[:, 0]
            for part in other.split(512)
        ]
        return torch.cat(found).cpu()

    answers = ours()
    for theirs in (scikit(), lightly()):
        same = (theirs == answers).float().mean().item()
        assert same > 0.999, f"other classes: {same:.4f} are the same"
    title = f"{HOW.k[0]} neighbors, {queries} of {bank} x {DIM}"
    return compared(title, {"ours": ours, SKLEARN: scikit, "lightly": lightly}, rounds, device)


def votes(distances: np.ndarray) -> np.ndarray:
    """As scikit-learn weighs neighbors: of vectors of length 1 the squared distance is
    2 - 2 cosine."""
    return np.exp(-(distances**2) / 2 / HOW.temperature)


def linear(count: int, classes: int, device: str, rounds: int) -> list[Row]:
    from sklearn.linear_model import LogisticRegression

    train, test = blobs(count, classes, device), blobs(count // 5, classes, device, seed=1)
    how = LinearProbe()

    def ours() -> float:
        return probe(train, test, classes, how, seed=0)["scores"]["top1"]

    def scikit() -> float:
        best = 0.0
        for strength in how.rates:
            model = LogisticRegression(C=strength, max_iter=100)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 100 rounds of it are not always enough
                model.fit(train.features.cpu().numpy(), train.labels.cpu().numpy())
            best = max(best, model.score(test.features.cpu().numpy(), test.labels.cpu().numpy()))
        return best

    print(f"top1 ours {ours():.4f}, {SKLEARN} {scikit():.4f}")
    title = f"linear probe, {len(how.rates)} rates, {count} x {DIM} in {classes} classes"
    return compared(title, {"ours": ours, SKLEARN: scikit}, rounds, device)


def compared(title: str, sides: dict[str, Any], rounds: int, device: str) -> list[Row]:
    alone = torch.get_num_threads() == 1 and device == "cpu"
    seconds = in_turns(sides, rounds, warmup=0, clock=process_time if alone else perf_counter)
    ours = seconds.pop("ours")
    first, *_ = seconds
    rows = [row(title, ours, "s", first, over(ours, seconds[first]))]
    for peer, took in seconds.items():
        rows.append(row(f"{title}, {peer}", took, "s"))
        if peer != first:
            rows.append(row(f"{title}, beside {peer}", ours, "s", peer, over(ours, took)))
    return rows


def blobs(count: int, classes: int, device: str, seed: int = 0) -> Labeled:
    """Features around a middle for each class, much wider than these are apart."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.randn(classes, DIM, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(classes, (count,), generator=generator)
    features = 0.2 * middles[labels] + torch.randn(count, DIM, generator=generator)
    return Labeled(features.to(device), labels.to(device))


if __name__ == "__main__":
    main()
