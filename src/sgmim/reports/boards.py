"""The scores of arms in one trial: means, differences, and who is told apart from whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sgmim.confidence import Estimate, estimate
from sgmim.reports.trials import Score, Trial, by_seed, difference, is_better, rising


@dataclass(frozen=True)
class Board:
    """The scores of all arms in one trial."""

    trial: Trial
    title: str
    arms: dict[str, list[Score]]  # of those that were scored in it
    colors: dict[str, int]
    baseline: str

    @property
    def metrics(self) -> list[str]:
        """The headline first."""
        every = (score.values for scores in self.arms.values() for score in scores)
        return list(dict.fromkeys(metric for values in every for metric in values))

    def column(self, metric: str) -> dict[str, Estimate]:
        """The mean of every arm, the best first."""
        return self._columns[metric]

    @cached_property
    def _columns(self) -> dict[str, dict[str, Estimate]]:
        return {metric: self._column(metric) for metric in self.metrics}

    def _column(self, metric: str) -> dict[str, Estimate]:
        seen = {arm: by_seed(scores, metric) for arm, scores in self.arms.items()}
        found = {arm: estimate(list(values.values())) for arm, values in seen.items() if values}
        more = rising().get(metric)
        if more is None:
            return found
        return dict(sorted(found.items(), key=lambda pair: pair[1].mean, reverse=more))

    def difference(self, metric: str, arm: str, other: str) -> Estimate | None:
        """How far one arm is above another, seed by seed."""
        if arm not in self.arms or other not in self.arms:
            return None
        return difference(by_seed(self.arms[arm], metric), by_seed(self.arms[other], metric))

    def rivals(self, metric: str) -> list[str]:
        """The arms that the first of a column is not told apart from."""
        best, *others = self.column(metric)
        return [other for other in others if not self.beats(metric, best, other)]

    def beats(self, metric: str, arm: str, other: str) -> bool:
        found = self.difference(metric, arm, other)
        return found is not None and is_better(metric, found) is True

    def best(self, metric: str) -> str | None:
        """The arm that is better than every other by more than chance says, if there is one."""
        column = self.column(metric)
        alone = len(column) > 1 and metric in rising() and not self.rivals(metric)
        return next(iter(column)) if alone else None


def boards(
    arms: Mapping[str, Sequence[Score]], baseline: str, titles: Sequence[str] | None = None
) -> list[Board]:
    """The trials, those of most arms first."""
    trials: dict[Trial, dict[str, list[Score]]] = {}
    for arm, scores in arms.items():
        for score in scores:
            trials.setdefault(score.trial, {}).setdefault(arm, []).append(score)
    colors = {arm: place for place, arm in enumerate(arms)}
    ordered = sorted(trials.items(), key=lambda pair: -len(pair[1]))
    titles = titles or distinct([trial for trial, _ in ordered])
    return [
        Board(trial, title, found, colors, baseline if baseline in found else next(iter(found)))
        for (trial, found), title in zip(ordered, titles, strict=True)
    ]


def distinct(trials: Sequence[Trial]) -> list[str]:
    """Titles; those of the same name with the first thing in which they were made otherwise."""
    told = []
    for trial in trials:
        others = [dict(each.how) for each in trials if each.title == trial.title and each != trial]
        own = [f"{k} {v}" for k, v in trial.how if any(other.get(k) != v for other in others)]
        told.append(", ".join([trial.title, *own[:2]]))
    return told
